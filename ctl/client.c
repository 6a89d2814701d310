/*
 * ctl/client.c - one question to enrolld over its control socket (protocol in enroll/enroll.h).
 */
#include "config.h"

#include "ctl/ctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_MOST (64u << 20)

static int connect_to(const char *path, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0)
		return fd;
	err_set(err, ERR_TEMPORARY, "ask enrolld", path, "enrolld does not answer: %s; is it running (systemctl status enrolld)?", strerror(errno));
	if (fd >= 0)
		close(fd);
	return -1;
}

static bool exchange(int fd, const char *request, struct buf *answer, struct err *err)
{
	size_t len = strlen(request), done = 0;
	char piece[16384];
	ssize_t n;

	while (done < len) {
		n = send(fd, request + done, len - done, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break; /* refused early: the answer says why */
		done += (size_t)n;
	}
	answer->max = ANSWER_MOST;
	while ((n = read(fd, piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR))
		if (n > 0)
			buf_append(answer, piece, (size_t)n);
	if (answer->failed || answer->len == 0)
		return err_set(err, ERR_TEMPORARY, "ask enrolld", NULL, "enrolld closed the connection without an answer");
	return true;
}

static void error_from(json_t *answer, struct err *err)
{
	json_t *e = json_object_get(answer, "error");
	const char *op = json_string_value(json_object_get(e, "op")), *text = json_string_value(json_object_get(e, "text"));
	const char *subject = json_string_value(json_object_get(e, "subject")), *class = json_string_value(json_object_get(e, "class"));

	err_set(err, class ? err_class_parse(class) : ERR_BUG, op ? op : "ask enrolld", subject, "%s", text ? text : "enrolld gave no reason");
}

json_t *ctl_try(struct ctl *c, const char *command, json_t *arguments, bool *reached, struct err *err)
{
	json_t *request = json_pack("{s:s, s:o}", "command", command, "arguments", arguments ? arguments : json_object()), *reply = NULL, *result = NULL;
	char *text = json_dumps(request, JSON_COMPACT), *line = NULL;
	struct buf answer = BUF_INIT;
	int fd = -1;

	*reached = false;
	if (!text || asprintf(&line, "%s\n", text) < 0) {
		err_nomem(err, "ask enrolld");
		line = NULL;
		goto out;
	}
	fd = connect_to(c->config->control.socket, err);
	*reached = fd >= 0;
	if (!*reached || !exchange(fd, line, &answer, err))
		goto out;
	reply = json_loadb(answer.data, answer.len, 0, NULL);
	if (json_is_true(json_object_get(reply, "ok")))
		result = json_incref(json_object_get(reply, "result"));
	else if (reply)
		error_from(reply, err);
	else
		err_set(err, ERR_BUG, "ask enrolld", NULL, "the answer is no JSON");
out:
	if (fd >= 0)
		close(fd);
	free(line);
	free(text);
	json_decref(reply);
	json_decref(request);
	buf_clear(&answer);
	return result;
}

json_t *ctl_ask(struct ctl *c, const char *command, json_t *arguments)
{
	struct err err = ERR_INIT;
	json_t *result;
	bool reached;

	if (!ctl_config(c)) {
		json_decref(arguments);
		return NULL;
	}
	result = ctl_try(c, command, arguments, &reached, &err);
	if (!result)
		ctl_fail(c, &err);
	return result;
}

bool ctl_print_json(const struct ctl *c, json_t *result)
{
	if (!c->json)
		return false;
	json_dumpf(result, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
	puts("");
	return true;
}

int ctl_print(struct ctl *c, json_t *result, void (*print)(const struct ctl *c, json_t *result))
{
	if (!result)
		return 1;
	if (!ctl_print_json(c, result))
		print(c, result);
	json_decref(result);
	return 0;
}
