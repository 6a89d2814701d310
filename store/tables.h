/*
 * store/tables.h - every table with its columns, for who copies a store whole.  Private to store/ and its tests, which hold it against both engines.
 */
#ifndef ENROLL_STORE_TABLES_H
#define ENROLL_STORE_TABLES_H

#include "store/db.h"

#define TABLE_COLUMNS_MAX 60
#define TABLE_KEY_MAX 2

/* In an order in which each table refers to those before it alone, but for columns that are `later`. */
struct table {
	const char *name;
	unsigned n_key;		/* the first so many columns are the primary key; rows are read in its order */
	const char *columns;	/* separated by blanks.  A name alone is a text; behind it # is a number, ! octets, > the id of a row in a later table */
	const char *count;	/* the statement that counts its rows */
};
extern const struct table tables[];
extern const size_t tables_n;

/* What a database says of itself, and is not copied. */
#define TABLES_OF_ITS_OWN "meta migrations"

struct table_column {
	char name[40];
	enum db_type type;
	bool later;
};
/* The columns of a table; how many. */
size_t table_columns(const struct table *t, struct table_column out[TABLE_COLUMNS_MAX]);

#endif
