//! What is kept: songs, listeners and bytes over time, traffic.
//!
//! Contract: an answer is about mounts that the caller may see and about no other; the songs of listed mounts are
//! for anybody.

use std::{collections::BTreeMap, time::Duration};

use auth::{Action, Proof};
use config::MountName;
use http::{HeaderMap, HeaderValue, header};
use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::{Insights, InsightsQuery, ReadError, Resolution, SongQuery, Traffic};

use super::{sheet, stats::sees_everything, streams::OneMount, webrtc::presented};
use crate::endpoint::{Answer, Call, Endpoint, Json, Refusal, WithHeaders, Written, get, group, mount_name};

/// Songs that the old interface tells.
const SONGS: u32 = 100;
const MOST_SONGS: u32 = 1_000;
/// Five years.
const HOURS: std::ops::RangeInclusive<i64> = 1..=43_800;
const POINTS: std::ops::RangeInclusive<u32> = 10..=2_000;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let disabled = "There is no database, or it is busy";
    let hours = "`hours` (1 to 43800, 24 where nothing is said) or `from` and `to` say when, `step` or `max_points` (10 \
                 to 2000, 200 where nothing is said) how closely. Points stand at whole multiples of the step; where \
                 nothing was sampled there is none. Bytes are those that moved within the point.";
    let endpoints = vec![
        get("/api/history", Action::HistoryRead, songs)
            .says("The songs of a mount, newest first")
            .details("Anybody may ask for listed mounts. `format=csv` gives a table."),
        get("/admin/history", Action::HistoryRead, old_songs)
            .says("The last 100 songs of a mount in the form of the old interface")
            .refuses_in_json(),
    ];
    let songs = endpoints.into_iter().map(|endpoint| {
        endpoint
            .fails(401, "The mount is not listed and nobody is signed in")
            .fails(403, "The mount is not the account's")
            .fails(503, disabled)
    });
    let rest = vec![
        get("/api/insights", Action::StatisticsRead, insights)
            .says("Listeners and bytes of mounts over time")
            .details(hours)
            .fails(503, disabled),
        get("/admin/insights", Action::StatisticsRead, old_insights)
            .says("The same in the form of the old interface")
            .refuses_in_json()
            .fails(503, disabled),
        get("/api/traffic", Action::StatisticsRead, traffic)
            .says("Bytes in the last day, week, month, quarter, year and ever")
            .fails(503, disabled),
        get("/admin/traffic", Action::StatisticsRead, traffic)
            .says("The same at its old address")
            .refuses_in_json()
            .fails(503, disabled),
    ];
    group("Statistics", songs.chain(rest).collect())
}

/// Why there is no answer from the database.
pub(super) fn unreadable(error: ReadError) -> Refusal {
    let retry = HeaderValue::from_static("5");
    Refusal::unavailable(error.to_string()).header(header::RETRY_AFTER, retry)
}

/// Which songs.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct Songs {
    /// Required.
    mount: String,
    /// 1 to 1000; 100 where nothing is said.
    limit: Option<String>,
    /// Only songs with a smaller `id`.
    before: Option<String>,
    /// `csv` for a table.
    format: Option<String>,
}

/// A song that a mount played.
#[derive(Debug, Serialize, JsonSchema)]
struct Song {
    id: i64,
    mount: String,
    /// The whole title, as players show it.
    song: String,
    /// Empty where it cannot be told from the title.
    artist: String,
    title: String,
    /// RFC 3339, of its beginning.
    timestamp: String,
}

/// The halves of `Artist - Title`.
pub(super) fn artist_and_title(song: &str) -> (String, String) {
    match song.split_once(" - ") {
        Some((artist, title)) => (artist.trim().to_owned(), title.trim().to_owned()),
        None => (String::new(), song.trim().to_owned()),
    }
}

/// A mount whose songs the caller may see.
async fn listed_or_own(call: &Call, text: &str) -> Answer<MountName> {
    let mount = mount_name(text)?;
    if call.config().is_visible(&mount) && !mount.is_internal() {
        return Ok(mount);
    }
    // The endpoint is for anybody, so credentials have not been looked at yet.
    let caller = match presented(call).await? {
        Some(caller) => caller,
        None => call.who.clone().ok_or_else(Refusal::unauthorized)?,
    };
    if auth::permits(&caller, Action::StatisticsRead, Some(&mount)) {
        Ok(mount)
    } else {
        Err(Refusal::forbidden())
    }
}

fn number<T: std::str::FromStr>(text: Option<&str>, key: &str) -> Answer<Option<T>> {
    let wrong = |_| Refusal::bad(format!("{key}: must be a number"));
    text.filter(|text| !text.is_empty())
        .map(str::parse)
        .transpose()
        .map_err(wrong)
}

async fn songs(call: Call, query: Songs, (): ()) -> Answer<Written<Vec<Song>>> {
    let mount = listed_or_own(&call, &query.mount).await?;
    let store = call.store()?;
    let before = number(query.before.as_deref(), "before")?;
    if sheet::is_wanted(query.format.as_deref()) {
        let part = |from| store.songs_csv(Some(mount.to_string()), from);
        return Ok(Written::new(
            sheet::answer(&call, "history.csv", before, part).await?,
        ));
    }
    let limit = number(query.limit.as_deref(), "limit")?.unwrap_or(SONGS);
    let songs = store.songs(SongQuery {
        mount: mount.to_string(),
        limit: limit.clamp(1, MOST_SONGS),
        before,
    });
    let songs = songs.await.map_err(unreadable)?.into_iter().map(|song| {
        let (artist, title) = artist_and_title(&song.song);
        Song {
            id: song.id,
            mount: song.mount,
            song: song.song,
            artist,
            title,
            timestamp: song.timestamp.to_string(),
        }
    });
    Ok(Written::json(&songs.collect::<Vec<_>>()))
}

/// A song with the keys that scripts of the old interface know.
#[derive(Debug, Serialize, JsonSchema)]
struct OldSong {
    #[serde(rename = "ID")]
    id: i64,
    #[serde(rename = "Mount")]
    mount: String,
    #[serde(rename = "Song")]
    song: String,
    #[serde(rename = "Timestamp")]
    timestamp: String,
}

async fn old_songs(call: Call, query: OneMount, (): ()) -> Answer<WithHeaders<Json<Vec<OldSong>>>> {
    let mount = listed_or_own(&call, &query.mount).await?;
    let songs = call
        .store()?
        .songs(SongQuery::newest(mount.as_str(), SONGS))
        .await
        .map_err(unreadable)?;
    let songs = songs.into_iter().map(|song| OldSong {
        id: song.id,
        mount: song.mount,
        song: song.song,
        timestamp: song.timestamp.to_string(),
    });
    // Pages of stations on other sites have always read it. What a browser signs in to they cannot read: with `*` it
    // sends no cookie.
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    Ok(WithHeaders(headers, Json(songs.collect())))
}

/// When, and how closely.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct When {
    /// Only this mount.
    mount: Option<String>,
    /// The last so many; what cannot be used is 24.
    hours: Option<String>,
    /// Points of a mount at most; what cannot be used is 200.
    max_points: Option<String>,
    /// RFC 3339; instead of `hours`.
    from: Option<String>,
    /// RFC 3339; now where nothing is said.
    to: Option<String>,
    /// Seconds between points, instead of `max_points`; rounded up to a divisor of the day or whole days.
    step: Option<String>,
    /// `csv` for a table; below `/api/` only.
    format: Option<String>,
}

impl When {
    /// The question, about these mounts.
    fn query(&self, mounts: Option<Vec<String>>, now: Timestamp) -> Answer<InsightsQuery> {
        let to = time(self.to.as_deref(), "to")?.unwrap_or(now);
        let hours = self
            .hours
            .as_deref()
            .and_then(|text| text.parse().ok())
            .filter(|hours| HOURS.contains(hours));
        let from = match time(self.from.as_deref(), "from")? {
            Some(from) => from,
            None => to
                .checked_sub(SignedDuration::from_hours(hours.unwrap_or(24)))
                .map_err(|_| Refusal::bad("to: must be a later time"))?,
        };
        if from >= to {
            return Err(Refusal::bad("from: must be before to"));
        }
        let step = number::<u64>(self.step.as_deref(), "step")?.filter(|step| *step > 0);
        let points = self.max_points.as_deref().and_then(|text| text.parse().ok());
        let points = points.filter(|points| POINTS.contains(points)).unwrap_or(200);
        let resolution = step.map_or(Resolution::Points(points), |step| {
            Resolution::Step(Duration::from_secs(step))
        });
        Ok(InsightsQuery {
            mounts,
            from,
            to,
            resolution,
        })
    }
}

/// A time in a query.
pub(super) fn time(text: Option<&str>, key: &str) -> Answer<Option<Timestamp>> {
    let wrong = |_| Refusal::bad(format!("{key}: must be a time such as 2026-01-02T03:04:05Z"));
    text.filter(|text| !text.is_empty())
        .map(str::parse)
        .transpose()
        .map_err(wrong)
}

/// The mounts that a question may be about, with the pictures to their sound: the one asked for, or all that the
/// caller may see; nothing is all there ever were.
fn mounts(call: &Call, only: Option<&str>) -> Answer<Option<Vec<String>>> {
    let with_picture = |mount: &MountName| [mount.to_string(), format!("{mount}/video")];
    if let Some(text) = only.filter(|text| !text.is_empty()) {
        return Ok(Some(with_picture(&call.mount(text)?).into()));
    }
    if sees_everything(call) {
        return Ok(None);
    }
    let caller = call.caller()?;
    let of_token = match &caller.proof {
        Proof::Token(token) => token.mounts.as_ref(),
        _ => None,
    };
    let own = of_token
        .unwrap_or(&caller.account.mounts)
        .iter()
        .filter(|mount| call.may(mount));
    Ok(Some(own.flat_map(with_picture).collect()))
}

/// A mount between one multiple of the step and the next.
#[derive(Debug, Serialize, JsonSchema)]
struct Point {
    /// RFC 3339, of its beginning.
    timestamp: String,
    /// On average.
    listeners: f64,
    max_listeners: u64,
    /// Received within it.
    bytes_in: u64,
    /// Sent within it.
    bytes_out: u64,
}

async fn ask(call: &Call, when: &When) -> Answer<Insights> {
    let query = when.query(mounts(call, when.mount.as_deref())?, Timestamp::now())?;
    call.store()?.insights(query).await.map_err(unreadable)
}

async fn insights(call: Call, when: When, (): ()) -> Answer<Written<BTreeMap<String, Vec<Point>>>> {
    let insights = ask(&call, &when).await?;
    if sheet::is_wanted(when.format.as_deref()) {
        return Ok(Written::new(sheet::whole(
            "insights.csv",
            store::csv::insights(&insights),
        )));
    }
    let point = |point: store::Point| Point {
        timestamp: point.timestamp.to_string(),
        listeners: (point.listeners * 100.0).round() / 100.0,
        max_listeners: point.max_listeners,
        bytes_in: point.bytes_in,
        bytes_out: point.bytes_out,
    };
    let series = insights
        .mounts
        .into_iter()
        .map(|(mount, points)| (mount, points.into_iter().map(point).collect()));
    Ok(Written::json(&series.collect::<BTreeMap<String, Vec<Point>>>()))
}

/// The same with whole listeners, as scripts of the old interface know it.
#[derive(Debug, Serialize, JsonSchema)]
struct OldPoint {
    timestamp: String,
    listeners: u64,
    max_listeners: u64,
    bytes_in: u64,
    bytes_out: u64,
}

async fn old_insights(call: Call, when: When, (): ()) -> Answer<Json<BTreeMap<String, Vec<OldPoint>>>> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "listeners are counted"
    )]
    let point = |point: store::Point| OldPoint {
        timestamp: point.timestamp.to_string(),
        listeners: point.listeners.round() as u64,
        max_listeners: point.max_listeners,
        bytes_in: point.bytes_in,
        bytes_out: point.bytes_out,
    };
    let series = ask(&call, &when).await?.mounts.into_iter();
    Ok(Json(
        series
            .map(|(mount, points)| (mount, points.into_iter().map(point).collect()))
            .collect(),
    ))
}

/// Bytes in windows that end now.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
struct Windows(#[schemars(with = "WindowsShape")] Traffic);

#[derive(JsonSchema)]
#[schemars(rename = "Traffic")]
#[allow(dead_code, reason = "it is the schema of another crate's type")]
struct WindowsShape {
    day: WindowShape,
    /// 7 days.
    week: WindowShape,
    /// 30 days.
    month: WindowShape,
    /// 90 days.
    quarter: WindowShape,
    /// 365 days.
    year: WindowShape,
    /// Since the first sample.
    lifetime: WindowShape,
    /// The same.
    all: WindowShape,
}

#[derive(JsonSchema)]
#[schemars(rename = "TrafficWindow")]
#[allow(dead_code, reason = "it is the schema of another crate's type")]
struct WindowShape {
    bytes_in: u64,
    bytes_out: u64,
    /// Mounts that had traffic.
    mounts: u64,
}

async fn traffic(call: Call, query: OneMount, (): ()) -> Answer<Json<Windows>> {
    let mounts = mounts(&call, Some(&query.mount))?;
    let traffic = call
        .store()?
        .traffic(mounts, Timestamp::now())
        .await
        .map_err(unreadable)?;
    Ok(Json(Windows(traffic)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_used_is_the_default_or_is_refused() {
        let now: Timestamp = "2026-08-10T12:00:00Z".parse().unwrap();
        let asked = |text: &str| {
            let when: When = serde_urlencoded::from_str(text).unwrap();
            when.query(None, now)
                .map(|query| format!("{} {} {:?}", query.from, query.to, query.resolution))
                .map_err(|refusal| refusal.text().to_owned())
        };
        let day = "2026-08-09T12:00:00Z 2026-08-10T12:00:00Z";
        for (text, expected) in [
            ("", Ok(format!("{day} Points(200)"))),
            ("hours=x&max_points=9", Ok(format!("{day} Points(200)"))),
            ("hours=0&max_points=2001", Ok(format!("{day} Points(200)"))),
            ("hours=43801", Ok(format!("{day} Points(200)"))),
            (
                "hours=1&max_points=10",
                Ok("2026-08-10T11:00:00Z 2026-08-10T12:00:00Z Points(10)".to_owned()),
            ),
            ("step=300", Ok(format!("{day} Step(300s)"))),
            ("step=0", Ok(format!("{day} Points(200)"))),
            ("step=-1", Err("step: must be a number".to_owned())),
            (
                "from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z",
                Ok("2026-01-01T00:00:00Z 2026-01-02T00:00:00Z Points(200)".to_owned()),
            ),
            (
                "from=yesterday",
                Err("from: must be a time such as 2026-01-02T03:04:05Z".to_owned()),
            ),
            (
                "from=2027-01-01T00:00:00Z",
                Err("from: must be before to".to_owned()),
            ),
            (
                "to=-009999-01-02T03:04:05Z",
                Err("to: must be a later time".to_owned()),
            ),
        ] {
            assert_eq!(asked(text), expected, "{text}");
        }
    }

    #[test]
    fn songs_are_split_at_the_first_dash() {
        for (song, artist, title) in [
            ("Artist - Title", "Artist", "Title"),
            ("A - B - C", "A", "B - C"),
            ("A-Ha", "", "A-Ha"),
            ("", "", ""),
        ] {
            assert_eq!(artist_and_title(song), (artist.to_owned(), title.to_owned()));
        }
    }
}
