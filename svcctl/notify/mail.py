"""Messages by mail: one SMTP connection for all of them (RFC 5321, RFC 3834)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from svcctl.config.notify import Mail
from svcctl.config.service import write_duration
from svcctl.errors import SvcctlError
from svcctl.notify.channel import Later, Letter, Outage, Refused, line

if TYPE_CHECKING:
    import smtplib
    import ssl

# Nothing about the recipient: log in first (RFC 4954), no relaying, a policy (RFC 3463, 3.8).
_POLICY = re.compile(r"5\.7\.\d")
_POLICY_CODES = (503, 530, 535, 538)
_CLOSING = 421
_TRIED_AGAIN = "the next run tries again"
_PATIENT = "check the server, or give notify.mail.timeout more"


class _HungUpError(Exception):
    """The server ended the connection before the message was sent: another one may do."""


class MailChannel:
    """Connects for the first message, and again when the server hangs up between two.

    Servers end a connection that is idle, or that has brought as many messages as they want.
    """

    def __init__(self, settings: Mail) -> None:
        self.settings = settings
        self._smtp: smtplib.SMTP | None = None

    def send(self, letter: Letter) -> str | None:
        content = _content(letter, self.settings.sender)
        fresh = self._smtp is None
        try:
            return self._hand_over(letter.to, content)
        except _HungUpError:
            self._drop()
            if fresh:
                raise self._outage("hung up") from None
        try:
            return self._hand_over(letter.to, content)
        except _HungUpError:
            self._drop()
            raise self._outage("hung up") from None

    def check(self) -> None:
        smtp = self._smtp = self._connect()
        try:
            self._from(smtp)
        except _HungUpError:
            raise self._outage("hung up") from None

    def close(self) -> None:
        import smtplib

        if self._smtp is not None and self._smtp.sock is not None:
            with suppress(OSError, smtplib.SMTPException):
                self._smtp.sock.settimeout(1)
                self._smtp.quit()
        self._drop()

    def _drop(self) -> None:
        if self._smtp is not None:
            self._smtp.close()
            self._smtp = None

    def _hand_over(self, to: tuple[str, ...], content: bytes) -> str | None:
        import smtplib

        smtp = self._smtp = self._smtp or self._connect()
        try:
            self._from(smtp)
            refused = _recipients(smtp, to)
        except smtplib.SMTPServerDisconnected as error:
            if "timed out" not in str(error):
                raise _HungUpError from None
            self._drop()
            raise Later(self._silence, hint=_PATIENT) from None
        # From here on it is unknown whether the server has it: no second try in the same run.
        try:
            code, said = smtp.data(content)
        except smtplib.SMTPDataError as error:
            raise self._judged(error.smtp_code, error.smtp_error) from None
        except smtplib.SMTPServerDisconnected as error:
            self._drop()
            silent = "timed out" in str(error)
            problem = self._silence if silent else f"{self._place}: hung up on a message"
            raise Later(problem, hint=_PATIENT) from None
        if code != 250:
            raise self._judged(code, said)
        return "; ".join(f"{who}: {problem}" for who, problem in refused.items()) or None

    def _from(self, smtp: "smtplib.SMTP") -> None:
        code, said = smtp.mail(self.settings.sender)
        if code == _CLOSING:
            raise _HungUpError
        if code != 250:
            raise self._outage(
                f"refused the sender {self.settings.sender}: {_words(code, said)}",
                "check notify.mail.sender, and whether the server wants a login",
            )

    def _judged(self, code: int, said: bytes | str) -> SvcctlError:
        if code == _CLOSING:
            self._drop()
        else:
            _forget(self._smtp)
        return _judged(code, said)

    def _connect(self) -> "smtplib.SMTP":
        import smtplib

        settings = self.settings
        with self._explained():
            password = settings.password.reveal() if settings.password else None
            tls = None if settings.security == "none" else self._trusted()
            where = (settings.host, settings.effective_port)
            seconds = settings.timeout.total_seconds()
            smtp = (
                smtplib.SMTP_SSL(*where, timeout=seconds, context=tls)
                if settings.security == "tls"
                else smtplib.SMTP(*where, timeout=seconds)
            )
            try:
                if settings.security == "starttls":
                    smtp.starttls(context=tls)
                if settings.username and password is not None:
                    self._log_in(smtp, settings.username, password)
                smtp.ehlo_or_helo_if_needed()
            except BaseException:
                smtp.close()
                raise
        return smtp

    def _trusted(self) -> "ssl.SSLContext":
        import ssl

        try:
            return ssl.create_default_context(cafile=self.settings.ca_file)
        except OSError:
            raise Outage(
                f"{self.settings.ca_file}: no certificates can be read from it",
                hint="check notify.mail.ca_file: a PEM file",
            ) from None

    def _log_in(self, smtp: "smtplib.SMTP", username: str, password: str) -> None:
        """What the server answers is not repeated: it might quote what was sent."""
        import smtplib

        try:
            smtp.login(username, password)
        except smtplib.SMTPAuthenticationError as error:
            problem = f"refused the login ({error.smtp_code})"
        except UnicodeError:
            problem = "cannot be given a username or a password that is not ASCII"
        else:
            return
        raise self._outage(problem, "check notify.mail.username and password") from None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Whatever keeps a connection from being made is an Outage that says what to look at."""
        import smtplib
        import ssl

        security = 'check notify.mail.port and security: 587 is "starttls", 465 is "tls"'
        server = "check notify.mail.host and port, and that the server runs"
        try:
            yield
        except Outage:
            raise
        except SvcctlError as error:
            raise Outage(error.message, hint=error.hint) from None
        except ssl.SSLCertVerificationError as error:
            raise self._outage(
                f"its certificate is not trusted: {error.verify_message}",
                "check notify.mail.host and ca_file, and the server's certificate",
            ) from None
        except ssl.SSLError as error:
            raise self._outage(f"no TLS: {error.reason or 'it failed'}", security) from None
        except smtplib.SMTPServerDisconnected as error:
            if "timed out" in str(error):
                raise Outage(self._silence, hint=_PATIENT) from None
            raise self._outage("hung up at once", security) from None
        except smtplib.SMTPResponseException as error:
            said = _words(error.smtp_code, error.smtp_error)
            raise self._outage(said) from None
        except smtplib.SMTPException as error:  # STARTTLS or AUTH that it does not offer
            raise self._outage(line(str(error).rstrip(".")), security) from None
        except TimeoutError:
            raise Outage(self._silence, hint=_PATIENT) from None
        except OSError as error:
            problem = (error.strerror or "cannot be reached").lower()
            raise self._outage(problem, server) from None

    @property
    def _place(self) -> str:
        return f"{self.settings.host}:{self.settings.effective_port}"

    @property
    def _silence(self) -> str:
        return f"{self._place}: no answer within {write_duration(self.settings.timeout)}"

    def _outage(self, problem: str, hint: str = _TRIED_AGAIN) -> Outage:
        return Outage(f"{self._place}: {problem}", hint=hint)


def _recipients(smtp: "smtplib.SMTP", to: tuple[str, ...]) -> dict[str, str]:
    """Who of them was refused, and why. Raises when nobody is left."""
    refused: dict[str, SvcctlError] = {}
    for address in to:
        code, said = smtp.rcpt(address)
        if code == _CLOSING:
            raise _HungUpError
        if code not in (250, 251):
            refused[address] = _judged(code, said)
    if len(refused) == len(to):
        _forget(smtp)
        # With several, one that may be taken later is worth another try.
        raise next(
            (error for error in refused.values() if isinstance(error, Later)), refused[to[0]]
        )
    return {address: error.message for address, error in refused.items()}


def _forget(smtp: "smtplib.SMTP | None") -> None:
    """Begin anew on the same connection; if that fails, the next message finds out."""
    import smtplib

    if smtp is not None:
        with suppress(smtplib.SMTPException):
            smtp.rset()


def _judged(code: int, said: bytes | str) -> SvcctlError:
    words = _words(code, said)
    permanent = 500 <= code < 600 and code not in _POLICY_CODES and not _POLICY.search(words)
    return Refused(words) if permanent else Later(words)


def _words(code: int, said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return line(f"{code} {' '.join(text.split())}".strip())


def _content(letter: Letter, sender: str) -> bytes:
    """The message as it is sent: 7-bit text whatever is in it."""
    from email.message import EmailMessage
    from email.policy import SMTP
    from email.utils import formatdate

    message = EmailMessage(policy=SMTP)
    message["Subject"] = line(letter.subject)
    message["From"] = sender
    message["To"] = ", ".join(letter.to)
    message["Date"] = formatdate()
    message["Message-ID"] = f"<{letter.key}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.body, charset="utf-8", cte="quoted-printable")
    return message.as_bytes()
