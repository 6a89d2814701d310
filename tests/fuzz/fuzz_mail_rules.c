/*
 * tests/fuzz/fuzz_mail_rules.c - what a configuration may say of the form in which mail leaves, and a mail that it is held against.
 *
 * Input: the end of a configuration file (signing, mail-rules), a line with "%" alone, then facts about a mail, a line each: "to ADDRESS",
 * "type TYPE", "octets N", "list", "auto", "Name: value".  They become known one after the other, as in a milter: with each of them the form may
 * only become stricter; and it is the strictest of what each rule says by itself.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "policy/policy.h"

#define BEGINNING "domains = [ \"b.example\" ];\nsubmission = ( { name = \"s\"; vouch = \"login\"; } );\n"
#define FACTS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fact {
	enum { TO, TYPE, OCTETS, LIST, AUTO, FIELD } kind;
	char *name, *value;
};

/* Of `facts` the first `known` are. */
struct mail {
	struct fact facts[FACTS_MAX];
	size_t n, known;
};

static void must(bool held)
{
	if (!held)
		abort();
}

/* ---- the mail ---------------------------------------------------------------------------------------------------------- */

static bool take_word(char *line, const char *word, struct fact *f, int kind)
{
	size_t len = strlen(word);

	if (strncmp(line, word, len) != 0)
		return false;
	f->kind = kind;
	f->value = line + len;
	return true;
}

static void read_facts(struct mail *m, char *text)
{
	char *save = NULL, *colon;

	for (char *line = strtok_r(text, "\n", &save); line && m->n < FACTS_MAX; line = strtok_r(NULL, "\n", &save)) {
		struct fact *f = &m->facts[m->n];

		if (take_word(line, "to ", f, TO) || take_word(line, "type ", f, TYPE) || take_word(line, "octets ", f, OCTETS) ||
			take_word(line, "list", f, LIST) || take_word(line, "auto", f, AUTO)) {
			m->n++;
		} else if ((colon = strchr(line, ':')) != NULL) {
			*colon = '\0';
			*f = (struct fact){.kind = FIELD, .name = line, .value = colon + 1};
			m->n++;
		}
	}
}

static const char *field(void *context, const char *name, size_t nth)
{
	const struct mail *m = context;

	for (size_t i = 0; i < m->known; i++)
		if (m->facts[i].kind == FIELD && str_eq_nocase(m->facts[i].name, name) && nth-- == 0)
			return m->facts[i].value;
	return NULL;
}

static bool has_type(void *context, const char *wanted)
{
	const struct mail *m = context;

	for (size_t i = 0; i < m->known; i++)
		if (m->facts[i].kind == TYPE && mail_rules_type_is(m->facts[i].value, wanted))
			return true;
	return false;
}

static void judge(const struct config *c, struct mail *m, size_t known, struct mail_form *out)
{
	struct strlist to = {0};
	struct mail_look look = {.recipients = &to, .context = m, .field = field, .has_type = has_type};

	m->known = known;
	for (size_t i = 0; i < known; i++) {
		const struct fact *f = &m->facts[i];
		uint64_t octets = f->kind == OCTETS ? strtoull(f->value, NULL, 10) : 0;

		look.octets = octets > look.octets ? octets : look.octets;
		look.list_mail |= f->kind == LIST;
		look.auto_submitted |= f->kind == AUTO;
		must(f->kind != TO || strlist_add(&to, f->value));
	}
	mail_rules_judge(c, &look, out);
	strlist_clear(&to);
}

/* ---- what must hold -------------------------------------------------------------------------------------------------------- */

/* The rule that decided is one of the configuration's, and says so; without one the reason is of the group signing. */
static void check_decision(const struct config *c, const struct mail_form *f)
{
	bool found = f->rule == NULL;

	must((f->why == NULL) == (f->form == c->signing.form));
	must(f->rule == NULL || f->why != NULL);
	for (size_t i = 0; i < c->n_mail_rules; i++)
		found |= c->mail_rules[i].name == f->rule && c->mail_rules[i].form == f->form;
	must(found);
}

/* Each rule alone, and none. */
static enum signed_form strictest(const struct config *c, struct mail *m, size_t known)
{
	struct config one = *c;
	struct mail_form form;
	enum signed_form most;

	one.n_mail_rules = 0;
	judge(&one, m, known, &form);
	most = form.form;
	one.n_mail_rules = 1;
	for (size_t i = 0; i < c->n_mail_rules; i++) {
		one.mail_rules = &c->mail_rules[i];
		judge(&one, m, known, &form);
		most = form.form > most ? form.form : most;
	}
	return most;
}

/* Mail to one more recipient may be internal no longer, which is a fact that is whole before the first question. */
static bool only_internal(const struct config *c)
{
	for (size_t i = 0; i < c->n_mail_rules; i++)
		if (c->mail_rules[i].direction == DIRECTION_INTERNAL)
			return true;
	return false;
}

static void check(const struct config *c, struct mail *m, const struct config *again)
{
	struct mail_form before = {.form = FORM_DETACHED}, now, shown;

	for (size_t known = 0; known <= m->n; known++) {
		judge(c, m, known, &now);
		check_decision(c, &now);
		must(now.form == strictest(c, m, known));
		must(now.form >= before.form || (m->facts[known - 1].kind == TO && only_internal(c)));
		judge(again, m, known, &shown);
		must(shown.form == now.form && (shown.rule == NULL) == (now.rule == NULL));
		must(shown.rule == NULL || strcmp(shown.rule, now.rule) == 0);
		before = now;
	}
}

/* ---- the configuration ------------------------------------------------------------------------------------------------------ */

static struct config *load(const char *text, size_t len)
{
	static int fd = -1;
	static char path[64];
	struct err err = ERR_INIT;
	struct config *c;

	if (fd < 0) {
		fd = memfd_create("configuration", 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	must(fd >= 0 && ftruncate(fd, 0) == 0 && pwrite(fd, text, len, 0) == (ssize_t)len);
	c = config_load(path, &err);
	must(c != NULL || (err.class == ERR_CONFIG && err.text[0] != '\0'));
	return c;
}

/* What config show prints means the same. */
static struct config *load_shown(const struct config *c)
{
	struct buf text = BUF_INIT;
	struct config *again;

	must(config_show(c, false, &text, NULL));
	again = load(buf_str(&text), text.len);
	must(again != NULL);
	buf_clear(&text);
	return again;
}

static void check_types(const struct config *c)
{
	struct strlist types = {0};

	must(mail_rules_types(c, &types));
	for (size_t i = 0; i < types.n; i++)
		for (size_t k = 0; k < i; k++)
			must(strcmp(types.v[i], types.v[k]) != 0);
	strlist_clear(&types);
	mail_rules_ask_recipients(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *mark = memmem(data, size, "\n%\n", 3);
	size_t len = mark ? (size_t)(mark - (const char *)data) + 1 : size;
	struct buf text = BUF_INIT;
	struct mail m = {.n = 0};
	struct config *c, *again;
	char *facts;

	/* Other files are none of this input. */
	if (memmem(data, len, "@include", 8) != NULL)
		return 0;
	buf_puts(&text, BEGINNING);
	buf_append(&text, data, len);
	c = load(buf_str(&text), text.len);
	if (c) {
		facts = mark ? strndup(mark + 3, size - len - 2) : strdup("");
		read_facts(&m, facts);
		again = load_shown(c);
		check(c, &m, again);
		check_types(c);
		config_unref(again);
		free(facts);
	}
	config_unref(c);
	buf_clear(&text);
	return 0;
}
