//! Reading what is sent: JSON of a limited size, within a limited time, a few large ones at once.

use super::refusal::Refusal;
use axum::body::{BodyDataStream, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use image::ImageReader;
use serde::de::DeserializeOwned;
use std::io::Cursor;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_stream::StreamExt;

/// The most bytes of a request without pictures.
pub const SMALL: usize = 1 << 20;
/// The most bytes of one with pictures, in base64.
pub const LARGE: usize = 24 << 20;
/// Large bodies that are in memory at once.
static LARGE_ONES: Semaphore = Semaphore::const_new(8);
/// The longest side of a picture.
const LONGEST_SIDE: u32 = 8192;
/// The most pixels of one.
const MOST_PIXELS: u64 = 16 << 20;
/// How long a body may be on its way.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a large body waits for its place among those that are in memory.
const FOR_A_PLACE: Duration = Duration::from_secs(15);

/// A place among the large bodies. Whoever has taken out of a body what is needed gives it back at once, and keeps it
/// through no queue: eight runs that wait would keep everybody else's pictures out.
pub type Place = SemaphorePermit<'static>;

/// Something that was sent as JSON, at most `MOST` bytes of it. An empty body is an empty object.
#[derive(Debug)]
pub struct Sent<T, const MOST: usize> {
    /// What was sent.
    pub value: T,
    /// Held while something large is in memory.
    pub place: Option<Place>,
}

impl<T: DeserializeOwned, S: Send + Sync, const MOST: usize> FromRequest<S> for Sent<T, MOST> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let kind =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_json = kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"));
        let (place, bytes) = read(request, MOST).await?;
        if bytes.is_empty() {
            return Ok(Sent { value: parse(b"{}")?, place });
        }
        if !is_json {
            let (status, message) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, "this is not sent as JSON");
            return Err(Refusal::new(status, message, "send `Content-Type: application/json`"));
        }
        Ok(Sent { value: parse(&bytes)?, place })
    }
}

/// Reads a body. One that is large, by what it says or because it has come to be so, waits for a place first; that time is
/// not counted as its sender's.
async fn read(request: Request, most: usize) -> Result<(Option<Place>, Vec<u8>), Refusal> {
    let least = request.body().size_hint().lower();
    if least > most as u64 {
        return Err(too_large(most));
    }
    let mut coming = Coming { body: request.into_body().into_data_stream(), bytes: vec![], left: PATIENCE };
    if least <= SMALL as u64 && coming.read(SMALL.min(most)).await? {
        return Ok((None, coming.bytes));
    }
    if coming.bytes.len() > most {
        return Err(too_large(most));
    }
    let place = place().await?;
    match coming.read(most).await? {
        true => Ok((Some(place), coming.bytes)),
        false => Err(too_large(most)),
    }
}

fn too_large(most: usize) -> Refusal {
    let message = format!("more than {} MiB were sent", most >> 20);
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message, "send smaller pictures")
}

/// A place for a large body.
///
/// # Errors
/// When none comes free for a while.
async fn place() -> Result<Place, Refusal> {
    // Nobody closes the semaphore.
    let free = tokio::time::timeout(FOR_A_PLACE, LARGE_ONES.acquire()).await.ok().and_then(Result::ok);
    free.ok_or_else(|| {
        let message = "many large pictures are being sent at this moment";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message, "send it again in a moment").coded("many_large")
    })
}

/// A body on its way.
struct Coming {
    body: BodyDataStream,
    bytes: Vec<u8>,
    /// How long the rest may take.
    left: Duration,
}

impl Coming {
    /// Reads until the end, or until there are more than so many bytes; says whether it was the end.
    ///
    /// # Errors
    /// When it breaks off, or takes too long.
    async fn read(&mut self, most: usize) -> Result<bool, Refusal> {
        let began = Instant::now();
        let reading = async {
            while let Some(piece) = self.body.next().await {
                self.bytes.extend_from_slice(&piece?);
                if self.bytes.len() > most {
                    return Ok(false);
                }
            }
            Ok::<bool, axum::Error>(true)
        };
        let read = tokio::time::timeout(self.left, reading).await;
        self.left = self.left.saturating_sub(began.elapsed());
        match read {
            Ok(Ok(ended)) => Ok(ended),
            Ok(Err(_)) => Err(Refusal::new(StatusCode::BAD_REQUEST, "the request broke off", "send it again")),
            Err(_) => {
                let message = "the request took too long to come";
                Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message, "send it faster"))
            }
        }
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("this is not what is asked for here: {error}");
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, message, "`/api/openapi.json` describes it")
    })
}

/// The bytes of a picture in base64, with or without `data:…;base64,` before it. Addresses of pictures are not fetched,
/// and what would fill the memory is refused by what its head says.
///
/// # Errors
/// When it is no base64, no picture, or too large.
pub fn picture(text: &str) -> Result<Vec<u8>, Refusal> {
    let data = match text.strip_prefix("data:") {
        Some(rest) => rest.split_once(";base64,").map_or(rest, |(_, data)| data),
        None => text,
    };
    let bytes = BASE64_STANDARD
        .decode(data.trim())
        .map_err(|_| unusable("a picture is not in base64", "send its bytes; addresses are not fetched"))?;
    let head = ImageReader::new(Cursor::new(&bytes)).with_guessed_format().ok();
    let (width, height) = head
        .and_then(|head| head.into_dimensions().ok())
        .ok_or_else(|| unusable("a picture is neither PNG nor JPEG nor WebP", "open it in a picture viewer"))?;
    if width.max(height) > LONGEST_SIDE || u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(unusable(format!("a picture of {width}×{height} is too large"), "make it 16 megapixels at most")
            .coded("picture_too_large"));
    }
    Ok(bytes)
}

fn unusable(error: impl Into<String>, hint: &str) -> Refusal {
    Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error, hint).coded("picture_unreadable")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::trace::metadata::png_bytes;

    #[test]
    fn pictures_come_in_base64_and_addresses_are_refused() {
        let png = png_bytes(&image::RgbImage::new(3, 2)).unwrap();
        let text = BASE64_STANDARD.encode(&png);
        assert_eq!(picture(&format!("data:image/png;base64,{text}")).unwrap(), png);
        assert_eq!(picture(&format!(" {text}\n")).unwrap(), png);
        for bad in ["AAEC", "http://127.0.0.1/secret.png", "file:///etc/passwd", "data:image/png,x", "…"] {
            assert_eq!(picture(bad).unwrap_err().status, StatusCode::UNPROCESSABLE_ENTITY, "{bad}");
        }
    }
}
