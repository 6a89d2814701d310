"""The CA's mail server: keeps every octet, hands replies to the judge."""

import asyncio
import itertools
import os
import threading
import time

from aiosmtpd.smtp import SMTP

from reply import Reply, judge

LARGEST_MAIL = 10 << 20


class Handler:
    """Hooks of aiosmtpd; they run in the loop's thread and do no slow work there."""

    def __init__(self, room):
        self.room = room

    async def fault(self, stage, server):
        """The answer a switch orders for this stage, or None."""
        fault = self.room.ca.behaviour.take_smtp_fault(stage)
        if fault is None:
            return None
        self.room.ca.journal.event("smtp_fault", stage=stage, fault=fault)
        if fault.get("hang"):
            await asyncio.sleep(10 ** 6 if fault["hang"] == "forever" else fault["hang"])
        if fault.get("drop"):
            server.transport.abort()
            return "421 gone"
        if "code" in fault:
            return f"{fault['code']} {fault.get('text', 'ordered by the test')}"
        return None

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        answer = await self.fault("connect", server)
        return [answer] if answer else responses

    async def handle_MAIL(self, server, session, envelope, address, options):
        answer = await self.fault("mail", server)
        if answer:
            return answer
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 Sender ok"

    async def handle_RCPT(self, server, session, envelope, address, options):
        answer = await self.fault("rcpt", server)
        if answer:
            return answer
        if address.lower() not in self.room.addresses:
            return "550 5.1.1 Nobody of that name here"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Recipient ok"

    async def handle_DATA(self, server, session, envelope):
        answer = await self.fault("data", server)
        if answer:
            return answer
        raw = envelope.original_content
        facts = {"mail_from": envelope.mail_from or "", "rcpt_to": list(envelope.rcpt_tos),
                 "options": list(envelope.mail_options), "peer": str(session.peer),
                 "helo": session.host_name, "tls": bool(session.ssl)}
        self.room.accept(raw, facts)
        return await self.fault("after_data", server) or "250 2.0.0 Taken"


class MailIn:
    def __init__(self, ca):
        self.ca = ca
        self.addresses = {a.lower() for a in (ca.config["mail_from"], ca.config["reply_to"],
                                              "postmaster@" + ca.config["mail_from"].rpartition("@")[2]) if a}
        self._loop = asyncio.new_event_loop()
        self._server = None
        self._number = itertools.count(1)
        self.port = None

    def start(self):
        host, port = self.ca.config["smtp_listen"]["host"], self.ca.config["smtp_listen"]["port"]
        handler = Handler(self)

        def protocol():
            return SMTP(handler, hostname=self.ca.config["helo"], ident="test CA", decode_data=False,
                        data_size_limit=LARGEST_MAIL, enable_SMTPUTF8=False, loop=self._loop,
                        tls_context=self.ca.mail_tls)

        self._server = self._loop.run_until_complete(self._loop.create_server(protocol, host, port))
        self.port = self._server.sockets[0].getsockname()[1]
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def stop(self):
        def end():
            self._server.close()
            self._loop.stop()
        self._loop.call_soon_threadsafe(end)

    def accept(self, raw, facts):
        """Keep a mail and have it judged, later if a switch says so."""
        name = f"in-{os.getpid()}-{next(self._number):05d}.eml"
        with open(os.path.join(self.ca.mail_dir, name), "wb") as file:
            file.write(raw)
        facts["file"] = name
        if self.ca.behaviour["reply_swallowed"]:
            self.ca.journal.event("reply_swallowed", **facts)
            return
        timer = threading.Timer(self.ca.behaviour["reply_checked_late"], self.examine, (raw, facts))
        timer.daemon = True
        timer.start()

    def examine(self, raw, facts):
        try:
            self._examine(Reply(raw), facts)
        except Exception as error:  # the CA's own bug must be visible in the test
            self.ca.journal.event("internal_error", detail=repr(error), file=facts["file"])

    def _examine(self, reply, facts):
        store, behaviour = self.ca.store, self.ca.behaviour
        journal = self.ca.journal
        shown = {**facts, "from": reply.value("from"), "subject": reply.value("subject"),
                 "message_id": reply.value("message-id"), "received": reply.value("received")}
        authorization, mail = store.mail_by_message_id(reply.in_reply_to)
        if mail is None and reply.token:
            authorization, mail = store.mail_by_token(reply.token)
        if mail is None:
            journal.event("mail_other", **shown)
            if reply.token is not None:
                journal.violation("reply_to_nothing", **shown)
            return
        with store.lock:
            mail.replies += 1
            number = mail.replies
            thumbprint = store.accounts[authorization.account].thumbprint
        verdict = judge(reply, authorization, mail, thumbprint, self.ca.lookup, behaviour,
                        facts)
        journal.event("reply_received", authz=authorization.id, address=authorization.address,
                      verdict="good" if verdict.good else "bad", reasons=verdict.reasons,
                      notes=verdict.notes, dkim=verdict.dkim, number=number, in_reply_to=mail.message_id,
                      age=round(time.time() - mail.created, 3), **shown)
        if number > 1:
            journal.violation("duplicate_reply", authz=authorization.id, number=number,
                              in_reply_to=mail.message_id, received=shown["received"], file=facts["file"])
            if authorization.reply_good is not None:
                return
        if not verdict.good:
            journal.violation("bad_reply", authz=authorization.id, reasons=verdict.reasons,
                              file=facts["file"])
        self.ca.acme.orders.reply_judged(authorization, verdict.good, verdict.reasons)
