//! Requests to the hub, and to wherever it sends us: its large files lie on other hosts.
//!
//! Enters: an address. Leaves: the last answer's status, and its body, which is not read yet. The token is for the hub alone:
//! redirects are followed by hand, and a request to another scheme, host or port goes without it.

use super::Hub;
use hf_hub::api::sync::ApiRepo;
use std::io::Read;
use std::time::Duration;

/// More redirects than this lead in a circle.
const MOST_REDIRECTS: usize = 10;

/// How long a host may take to be found and to take a call.
const CONNECT: Duration = Duration::from_secs(10);

/// What a host answered.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Where in the file the body begins, if it is a part of it, and how large the whole is, if that is known.
    pub part: Option<(u64, Option<u64>)>,
    /// The host that answered.
    pub origin: String,
    /// The body.
    pub body: Box<dyn Read>,
}

/// Asks for `url` from byte `from` on, and goes where it is sent. With `limit`, all of it must come within that time.
///
/// # Errors
/// When nobody answers, in words.
pub fn ask(repository: &ApiRepo, hub: &Hub, url: &str, from: u64, limit: Option<Duration>) -> Result<Answer, String> {
    let mut url = url.to_string();
    for _ in 0..=MOST_REDIRECTS {
        // The library's own request: it brings the agent's name, and the token.
        let mut request = repository.info_request().uri(url.as_str());
        if !same_origin(&url, &hub.endpoint)
            && let Some(headers) = request.headers_mut()
        {
            headers.remove("authorization");
        }
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let config = request.config().max_redirects(0).http_status_as_error(false).timeout_global(limit);
        let config = config.timeout_resolve(Some(CONNECT)).timeout_connect(Some(CONNECT));
        let answer = config.build().call().map_err(|e| plain(&e.to_string()))?;
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(String::from);
        let status = answer.status().as_u16();
        if let (300..=399, Some(location)) = (status, header("location")) {
            url = target(&url, &location);
            continue;
        }
        let part = header("content-range").as_deref().and_then(content_range);
        let body = Box::new(answer.into_body().into_reader());
        return Ok(Answer { status, part, origin: origin(&url).into(), body });
    }
    Err(format!("{} sends from one address to the next, {MOST_REDIRECTS} times", origin(&url)))
}

/// The words of an error without what the system and the library put around them.
fn plain(said: &str) -> String {
    said.trim_start_matches("io: ").split(" (os error").next().unwrap_or(said).into()
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    &url[..end]
}

fn same_origin(a: &str, b: &str) -> bool {
    origin(a).eq_ignore_ascii_case(origin(b))
}

/// Where `location`, whole or in part, leads from `url`.
fn target(url: &str, location: &str) -> String {
    let scheme = url.split("//").next().unwrap_or_default();
    let names_scheme = location.split(['/', '?', '#']).next().is_some_and(|begin| begin.ends_with(':'));
    match location {
        _ if names_scheme => location.into(),
        _ if location.starts_with("//") => format!("{scheme}{location}"),
        _ if location.starts_with('/') => format!("{}{location}", origin(url)),
        _ => {
            let path = url.split(['?', '#']).next().unwrap_or(url);
            let folder = path.rfind('/').filter(|at| *at >= origin(url).len()).map_or(path, |at| &path[..at]);
            format!("{folder}/{location}")
        }
    }
}

/// `bytes 7-99/100`: where it begins, and how large the whole is, unless it says `*`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let from = range.split('-').next()?.trim().parse().ok()?;
    Some((from, whole.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_is_its_scheme_host_and_port() {
        let hub = "https://hub.example";
        for (url, same) in [
            ("https://hub.example/a/b", true),
            ("https://HUB.example?x=1", true),
            ("http://hub.example/a", false),
            ("https://hub.example:8443/a", false),
            ("https://cdn.hub.example/a", false),
            ("https://hub.example.evil.example/a", false),
            ("https://hub.example@evil.example/a", false),
        ] {
            assert_eq!(same_origin(url, hub), same, "{url}");
        }
    }

    #[test]
    fn redirects_lead_where_they_say() {
        let url = "https://hub.example/a/resolve/main/x?download=true";
        for (location, expected) in [
            ("https://cdn.example/y?sig=a/b", "https://cdn.example/y?sig=a/b"),
            ("//cdn.example/y", "https://cdn.example/y"),
            ("/api/cache/y", "https://hub.example/api/cache/y"),
            ("y?to=http://z", "https://hub.example/a/resolve/main/y?to=http://z"),
        ] {
            assert_eq!(target(url, location), expected);
        }
        assert_eq!(target("https://hub.example", "y"), "https://hub.example/y");
    }

    #[test]
    fn the_range_of_a_part_is_read() {
        assert_eq!(content_range("bytes 7-99/100"), Some((7, Some(100))));
        assert_eq!(content_range("bytes 7-99/*"), Some((7, None)));
        assert_eq!(content_range("bytes */100"), None);
        assert_eq!(content_range("items 1-2/3"), None);
    }
}
