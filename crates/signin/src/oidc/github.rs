//! GitHub, which has OAuth but no OpenID Connect.
//!
//! Contract: only the address that is both primary and verified counts; the subject is GitHub's number of the user,
//! because user names can change hands.

use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use outbound::Client;
use serde_json::Value;
use url::Url;

use super::fetch;

/// Where GitHub is.
#[derive(Debug, Clone)]
pub struct Github {
    /// Where people agree.
    pub authorization: Url,
    /// Where the code becomes a token.
    pub token: Url,
    /// What `/user` is added to.
    pub api: Url,
}

impl Default for Github {
    fn default() -> Self {
        let url = |text: &str| Url::parse(text).expect("a good address");
        Self {
            authorization: url("https://github.com/login/oauth/authorize"),
            token: url("https://github.com/login/oauth/access_token"),
            api: url("https://api.github.com"),
        }
    }
}

/// Somebody at GitHub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) subject: String,
    pub(crate) name: String,
    /// None is one that is not verified.
    pub(crate) email: Option<String>,
}

/// Asks GitHub whose the token is.
pub(crate) async fn profile(client: &Client, github: &Github, token: &str) -> Result<Profile, String> {
    let user = ask(client, github, token, "/user").await?;
    let emails = ask(client, github, token, "/user/emails").await?;
    read(&user, &emails).ok_or_else(|| "the profile has no id".to_owned())
}

async fn ask(client: &Client, github: &Github, token: &str, path: &str) -> Result<Value, String> {
    let mut url = github.api.clone();
    url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
    let mut bearer =
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| "the token is malformed".to_owned())?;
    bearer.set_sensitive(true);
    let request = fetch::get(url)
        .with(ACCEPT, HeaderValue::from_static("application/vnd.github+json"))
        .with(AUTHORIZATION, bearer);
    let answer = fetch::send(client, request)
        .await
        .map_err(|reason| format!("{path}: {reason}"))?;
    match answer.is_ok {
        true => Ok(answer.json),
        false => Err(format!("{path}: status {}", answer.status)),
    }
}

fn read(user: &Value, emails: &Value) -> Option<Profile> {
    let subject = user.get("id")?.as_u64()?.to_string();
    let text = |key: &str| {
        user.get(key)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    let is = |email: &Value, key: &str| email.get(key).and_then(Value::as_bool) == Some(true);
    let own = emails.as_array().into_iter().flatten();
    let email = own
        .filter(|email| is(email, "primary") && is(email, "verified"))
        .find_map(|email| email.get("email")?.as_str())
        .map(str::to_owned);
    Some(Profile {
        subject,
        name: text("name").or(text("login")).unwrap_or_default().to_owned(),
        email,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn profiles() {
        let emails = json!([
            {"email": "old@radio.example", "primary": false, "verified": true},
            {"email": "dj@radio.example", "primary": true, "verified": true},
        ]);
        let profile = read(&json!({"id": 583231, "login": "dj", "name": "A DJ"}), &emails).unwrap();
        assert_eq!(
            (profile.subject.as_str(), profile.name.as_str()),
            ("583231", "A DJ")
        );
        assert_eq!(profile.email.as_deref(), Some("dj@radio.example"));
        let profile = read(&json!({"id": 1, "login": "dj", "name": null}), &json!([])).unwrap();
        assert_eq!((profile.name.as_str(), profile.email), ("dj", None));
        for emails in [
            json!([{"email": "dj@radio.example", "primary": true, "verified": false}]),
            json!([{"email": "dj@radio.example", "primary": false, "verified": true}]),
            json!([{"email": "dj@radio.example", "primary": true, "verified": "true"}]),
            json!({"message": "Not Found"}),
        ] {
            assert_eq!(read(&json!({"id": 1}), &emails).unwrap().email, None, "{emails}");
        }
        assert_eq!(read(&json!({"login": "dj"}), &emails), None);
    }
}
