//! The text of an engine's address: `unix://`, `tcp://`, `http://`, `https://`, `ssh://`, or a bare `host:port`.

use super::endpoint::{DEFAULT_SOCKET, Endpoint, Ssh, Tls};
use crate::failure::{Failure, Kind, Result};
use crate::text;

/// Default port for plain HTTP.
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// Parses an address. `tls` are the certificates, if TLS is requested.
pub(super) fn endpoint(text: &str, tls: Option<Tls>) -> Result<Endpoint> {
    match text.split_once("://") {
        Some(("unix", path)) => {
            let path = if path.is_empty() { DEFAULT_SOCKET } else { path };
            Ok(Endpoint::Unix(path.into()))
        }
        Some(("ssh", rest)) => ssh(text, rest).map(Endpoint::Ssh),
        Some(("tcp" | "http", rest)) => tcp(text, rest, tls),
        Some(("https", rest)) => tcp(text, rest, Some(tls.unwrap_or_else(Tls::of_this_machine))),
        None => tcp(text, text, tls),
        Some(_) => Err(bad(text, "its scheme must be unix, tcp, http, https or ssh")),
    }
}

impl Tls {
    /// Without a client certificate, with the authorities that this machine trusts.
    fn of_this_machine() -> Self {
        Tls { ca: None, cert: "/dev/null".into(), key: "/dev/null".into() }
    }
}

fn tcp(text: &str, rest: &str, tls: Option<Tls>) -> Result<Endpoint> {
    let authority = rest.trim_end_matches('/');
    if authority.contains(['/', '?', '#', '@', ' ']) {
        return Err(bad(text, "nothing may precede the host or follow the port"));
    }
    let (host, port) = host_and_port(text, authority)?;
    let host = if host.is_empty() { "localhost" } else { host };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let port = port.unwrap_or(if tls.is_some() { TLS_PORT } else { PLAIN_PORT });
    Ok(Endpoint::Tcp { authority: format!("{host}:{port}"), tls })
}

fn ssh(text: &str, rest: &str) -> Result<Ssh> {
    let (authority, socket) = match rest.find('/') {
        Some(slash) => (&rest[..slash], Some(&rest[slash..]).filter(|path| *path != "/")),
        None => (rest, None),
    };
    let (user, at) = match authority.rsplit_once('@') {
        Some((user, at)) => (Some(user), at),
        None => (None, authority),
    };
    // The message does not repeat a text that may contain a password.
    if user.is_some_and(|user| user.contains(':')) {
        return Err(Failure::new(Kind::EngineUnreachable, "an ssh:// address must not contain a password")
            .hint("use ssh-agent or a key file instead"));
    }
    let (host, port) = host_and_port(text, at)?;
    let unsafe_word = |word: &str| word.is_empty() || word.starts_with('-');
    if unsafe_word(host) || user.is_some_and(unsafe_word) {
        return Err(bad(text, "it has no host, or a name that begins with `-`"));
    }
    if socket.is_some_and(|path| path.contains(['?', '#'])) {
        return Err(bad(text, "only a socket's path may follow the host"));
    }
    Ok(Ssh { user: user.map(str::to_owned), host: host.to_owned(), port, socket: socket.map(str::to_owned) })
}

/// Splits `host[:port]`; an IPv6 host is in brackets.
fn host_and_port<'a>(text: &str, authority: &'a str) -> Result<(&'a str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or(rest))),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    match port.map(str::parse) {
        None => Ok((host, None)),
        Some(Ok(port)) => Ok((host, Some(port))),
        Some(Err(_)) => Err(bad(text, "the port is not a number up to 65535")),
    }
}

fn bad(text: &str, why: &str) -> Failure {
    let shown = text::one_line(&without_password(text));
    Failure::new(Kind::EngineUnreachable, format!("`{shown}` is not a valid address of a Docker Engine: {why}"))
        .hint("for example unix:///var/run/docker.sock, tcp://host:2376 or ssh://user@host")
}

/// An address as messages show it, without the part before the host, which may be a password.
fn without_password(text: &str) -> String {
    let begin = text.find("://").map_or(0, |at| at + 3);
    match text.rfind('@') {
        Some(end) if end >= begin => format!("{}***{}", &text[..begin], &text[end..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(text: &str) -> String {
        endpoint(text, None).unwrap().to_string()
    }

    #[test]
    fn addresses_are_read_as_the_cli_reads_them() {
        assert_eq!(normalised("unix:///run/podman.sock"), "unix:///run/podman.sock");
        assert_eq!(normalised("unix://"), "unix:///var/run/docker.sock");
        assert_eq!(normalised("tcp://localhost"), "tcp://localhost:2375");
        assert_eq!(normalised("tcp://:1"), "tcp://localhost:1");
        assert_eq!(normalised("127.0.0.1:1"), "tcp://127.0.0.1:1");
        assert_eq!(normalised("http://[::1]:1/"), "tcp://[::1]:1");
    }

    #[test]
    fn every_form_of_an_address_keeps_tls() {
        let tls = Tls { ca: None, cert: "c".into(), key: "k".into() };
        for text in ["tcp://h", "http://h", "h"] {
            let Endpoint::Tcp { authority, tls: found } = endpoint(text, Some(tls.clone())).unwrap() else {
                unreachable!("{text}")
            };
            assert_eq!((authority.as_str(), found.as_ref()), ("h:2376", Some(&tls)));
        }
        assert_eq!(normalised("https://h"), "https://h:2376");
    }

    #[test]
    fn every_form_of_an_ssh_address_is_understood() {
        for text in ["ssh://h", "ssh://me@h", "ssh://me@h:2222", "ssh://h:2222/run/docker.sock", "ssh://me@[::1]:22"] {
            assert_eq!(normalised(text), text);
        }
        assert_eq!(normalised("ssh://h/"), "ssh://h");
    }

    #[test]
    fn an_invalid_address_is_refused_with_the_reason() {
        for text in ["foo://x", "tcp://h:port", "tcp://h:99999", "tcp://h/path", "tcp://u@h", "ssh://", "ssh://h:x"] {
            let failure = endpoint(text, None).unwrap_err();
            assert_eq!(failure.kind, Kind::EngineUnreachable);
            assert!(failure.message.contains(&text.replace("u@", "***@")), "{failure}");
        }
    }

    #[test]
    fn a_host_cannot_be_an_option_of_ssh() {
        assert!(endpoint("ssh://-oProxyCommand=x", None).is_err());
        assert!(endpoint("ssh://-l@h", None).is_err());
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        for text in [
            "tcp://me:hunter2@h:2375",
            "https://me:hunter2@h",
            "me:hunter2@h",
            "foo://me:hun@ter2@h",
            "tcp://me:hunter2@h:x",
        ] {
            let message = endpoint(text, None).unwrap_err().message;
            assert!(message.contains("***@h") && !message.contains("hun") && !message.contains("ter2"), "{message}");
        }
        let failure = endpoint("ssh://me:hunter2@h", None).unwrap_err();
        assert!(!failure.message.contains("hunter2"));
    }
}
