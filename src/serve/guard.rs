//! What every request passes: is the server called by a name of its own, does it come from the server's own pages, who asks.
//!
//! Enters: requests. Leaves: refusals, or the request with its [`Caller`]; and every answer with headers that keep a browser
//! from reading more into it than it is.

use super::desk::Desk;
use super::refusal::Refusal;
use super::visitor::{Answer, Role, Visitor};
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Begins the name of the cookie by which a visitor is known.
const COOKIE: &str = "sdviz";
/// What may be read before the door is opened: the page, which asks for the code.
const OPEN: [&str; 5] = ["/", "/page.js", "/page.css", "/join", "/api/openapi.json"];
/// How long a wrong code waits for its answer.
const WRONG_CODE: Duration = Duration::from_millis(500);

/// Where a connection comes from, and to which port.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The other side's address.
    pub address: IpAddr,
    /// Our port.
    pub port: u16,
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Who.
    pub visitor: Visitor,
    /// What they may do.
    pub role: Role,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Refusal> {
        parts.extensions.get::<Caller>().cloned().ok_or_else(no_code)
    }
}

fn no_code() -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, "this server asks for a join code", "the lecturer has it")
}

/// Refuses a request that calls the server by a name which is not its own: another site's name that leads here (DNS
/// rebinding) makes a browser take that site's scripts for ours.
pub async fn check_host(State(desk): State<Arc<Desk>>, request: Request, next: Next) -> Response {
    let port = request.extensions().get::<Peer>().map(|peer| peer.port);
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) {
        (Some(host), None) => host.to_string(),
        _ => String::new(),
    };
    if is_own_name(&host, port, desk.settings.address, &desk.settings.host_names) {
        return next.run(request).await;
    }
    let hint = "call it by its address, or start it with `--host-name NAME`";
    Refusal::new(StatusCode::MISDIRECTED_REQUEST, "this server does not go by that name", hint).into_response()
}

/// Whether a `Host` header names this server. On a server for the room any address does: that is no name which another
/// site could have.
fn is_own_name(host: &str, port: Option<u16>, address: IpAddr, names: &[String]) -> bool {
    let (name, given) = match host.rsplit_once(':') {
        Some((name, digits)) if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            (name, digits.parse().ok())
        }
        _ => (host, Some(80)),
    };
    let name = name.trim_end_matches('.');
    if names.iter().any(|own| own.eq_ignore_ascii_case(name)) {
        return true;
    }
    let literal = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name).parse::<IpAddr>();
    let own_address = match literal {
        Ok(literal) => literal.is_loopback() || !address.is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    };
    own_address && given.is_some() && given == port
}

/// Finds out who asks, and lets nobody in without the code where there is one.
pub async fn identify(State(desk): State<Arc<Desk>>, mut request: Request, next: Next) -> Response {
    let (headers, peer) = (request.headers().clone(), request.extensions().get::<Peer>().copied());
    match caller(&desk, &headers, peer).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
        }
        Err(_) if OPEN.contains(&request.uri().path()) => {}
        Err(refusal) => {
            let program = ["/sdapi", "/v1"].iter().any(|path| request.uri().path().starts_with(path));
            let mut response = refusal.into_response();
            // In a browser this opens a dialogue: our page has its own.
            if program && response.status() == StatusCode::UNAUTHORIZED {
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"sdviz\""));
            }
            return response;
        }
    }
    next.run(request).await
}

async fn caller(desk: &Desk, headers: &HeaderMap, peer: Option<Peer>) -> Result<Caller, Refusal> {
    if let Some(token) = cookie(headers, desk.settings.port)
        && let Some(role) = desk.door.role(token)
    {
        return Ok(Caller { visitor: Visitor::of_token(token), role });
    }
    let address = peer.ok_or_else(no_code)?.address;
    let (user, password) = basic(headers).unwrap_or_default();
    let visitor = Visitor::of_address(address, &user);
    if desk.door.is_open() {
        return Ok(Caller { visitor, role: Role::Host });
    }
    if password.is_empty() {
        return Err(no_code());
    }
    Ok(Caller { visitor, role: try_code(desk, &password, address).await? })
}

/// What a code opens that comes from this address; a wrong one waits for its answer, and where there were many wrong ones
/// every code but the lecturer's waits to be looked at.
///
/// # Errors
/// When it opens nothing.
pub async fn try_code(desk: &Desk, code: &str, from: IpAddr) -> Result<Role, Refusal> {
    tokio::time::sleep(desk.door.pause(code)).await;
    match desk.door.try_code(code, from) {
        Answer::Welcome(role) => Ok(role),
        Answer::Wrong => {
            tokio::time::sleep(WRONG_CODE).await;
            Err(Refusal::new(StatusCode::UNAUTHORIZED, "this is not the code", "the lecturer has it")
                .coded("wrong_code"))
        }
        Answer::TooMany => {
            let message = "many wrong codes came from this address: none is looked at for a minute";
            Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, message, "try again later").coded("too_many_codes"))
        }
    }
}

/// The token in a request's cookie for the server at this port.
pub fn cookie(headers: &HeaderMap, port: u16) -> Option<&str> {
    let name = cookie_name(port);
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix(&name)?.strip_prefix('='))
}

/// The header that gives a visitor a cookie. No script reads it, no other site's request carries it.
pub fn set_cookie(token: &str, port: u16) -> String {
    format!("{}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age=2592000", cookie_name(port))
}

/// The port is in the name: browsers send a host's cookies to all its ports, and another server there would take ours away.
fn cookie_name(port: u16) -> String {
    format!("{COOKIE}-{port}")
}

/// User and password of HTTP's simplest way to log in.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(BASE64_STANDARD.decode(value.trim()).ok()?).ok()?;
    text.split_once(':').map(|(user, password)| (user.into(), password.into()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_names_that_nobody_else_can_have_are_its_own() {
        let local = |host: &str| is_own_name(host, Some(7860), "127.0.0.1".parse().unwrap(), &[]);
        for own in ["127.0.0.1:7860", "localhost:7860", "LOCALHOST:7860", "[::1]:7860"] {
            assert!(local(own), "{own}");
        }
        for foreign in [
            "",
            "evil.example",
            "evil.example:7860",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.0.0.1:7861",
            "localhost.evil.example:7860",
            "127.0.0.1.evil.example:7860",
            "192.168.1.5:7860",
            "localhost:7860@evil.example",
            "localhost:99999999",
        ] {
            assert!(!local(foreign), "{foreign}");
        }
        let names = ["hall.example".to_string()];
        let room = |host: &str| is_own_name(host, Some(7860), "0.0.0.0".parse().unwrap(), &names);
        assert!(room("192.168.1.5:7860") && room("hall.example") && room("hall.example:443") && room("[fe80::1]:7860"));
        assert!(!room("evil.example:7860") && !room("192.168.1.5"));
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=b; sdviz=x; sdviz-78601=y; sdviz-7861=z".parse().unwrap());
        assert_eq!(cookie(&headers, 7860), None);
        headers.append(header::COOKIE, "c=d;sdviz-7860=0123".parse().unwrap());
        assert_eq!(cookie(&headers, 7860), Some("0123"));
    }
}
