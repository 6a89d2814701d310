"""Writing challenge mails, byte by byte. Knows no sockets; forge.py uses it, too."""

import base64
import datetime
import email.utils
import secrets
import time
from dataclasses import dataclass
from typing import Optional

TEXT = """This mail was sent by a certification authority, to find out whether
somebody who asked for an S/MIME certificate for this address controls it.

If your mail program or gateway answers it by itself, there is nothing to do.
If nobody asked for a certificate, there is nothing to do either.
"""

HTML = "<html><body><p>This mail checks who controls this address.</p>" \
       "<p>If nobody asked for a certificate, ignore it.</p></body></html>\n"


@dataclass
class Challenge:
    """What a challenge mail says."""
    sender: str
    recipient: str
    token_part1: str
    message_id: str
    reply_to: Optional[str] = None
    auto_submitted: Optional[str] = "auto-generated; type=acme"
    subject_form: str = "plain"
    token_space: bool = False
    body_form: str = "plain"
    subject: Optional[str] = None
    date: Optional[float] = None
    display_name: Optional[str] = None


def new_message_id(domain):
    return f"<{secrets.token_hex(12)}.{int(time.time())}@{domain}>"


def compose(challenge):
    """The message as it goes over the wire, CRLF line ends, unsigned."""
    sender = challenge.sender
    if challenge.display_name:
        sender = f'"{challenge.display_name}" <{challenge.sender}>'
    fields = [("From", sender)]
    if challenge.reply_to:
        fields.append(("Reply-To", challenge.reply_to))
    fields += [("To", challenge.recipient), ("Subject", subject_value(challenge)),
               ("Date", date_value(challenge.date or time.time())),
               ("Message-ID", challenge.message_id)]
    if challenge.auto_submitted:
        fields.append(("Auto-Submitted", challenge.auto_submitted))
    fields.append(("MIME-Version", "1.0"))
    content_fields, body = content(challenge.body_form)
    return assemble(fields + content_fields, body)


def date_value(seconds):
    return email.utils.format_datetime(datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc))


def assemble(fields, body):
    head = "".join(f"{name}: {value}\n" for name, value in fields)
    return (head + "\n" + body).replace("\r\n", "\n").replace("\n", "\r\n").encode("utf-8")


def subject_value(challenge):
    if challenge.subject is not None:
        return challenge.subject
    token = challenge.token_part1
    if challenge.token_space:
        middle = len(token) // 2
        token = f"{token[:middle]} {token[middle:]}"
    form = challenge.subject_form
    if form == "folded":
        return f"ACME:\n {token}"
    text = f"ACME: {token}"
    if form == "encoded-b":
        return encoded_b(text)
    if form == "encoded-q":
        return "=?US-ASCII?Q?" + text.replace("_", "=5F").replace(" ", "_") + "?="
    if form == "encoded-split":
        # White space between two encoded words is no part of the text (RFC 2047 section 6.2).
        return encoded_b(text[:12]) + "\n " + encoded_b(text[12:])
    return text


def encoded_b(text):
    return "=?utf-8?B?" + base64.b64encode(text.encode()).decode() + "?="


def content(form):
    """(content header fields, body)."""
    plain = ("text/plain; charset=us-ascii", TEXT)
    html = ("text/html; charset=us-ascii", HTML)
    if form == "plain":
        parts = [plain]
    elif form == "html":
        parts = [html]
    elif form == "alternative":
        parts = [plain, html]
    else:
        parts = [html]
    if form in ("plain", "html"):
        return [("Content-Type", parts[0][0]), ("Content-Transfer-Encoding", "7bit")], parts[0][1]
    boundary = "=_" + secrets.token_hex(12)
    body = "".join(f"--{boundary}\nContent-Type: {kind}\nContent-Transfer-Encoding: 7bit\n\n{text}\n"
                   for kind, text in parts) + f"--{boundary}--\n"
    return [("Content-Type", f'multipart/alternative; boundary="{boundary}"'),
            ("Content-Transfer-Encoding", "7bit")], body
