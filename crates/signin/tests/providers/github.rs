//! GitHub.

use serde_json::{Value, json};
use signin::Identity;

use crate::provider::SECRET;
use crate::{BASE, DOCUMENT, Station, time, told};

#[tokio::test]
async fn somebody_signs_in_at_github() {
    let station = Station::new().await;
    let back = station.leave("github", "/x", Some("alice"), 0).await;
    assert_eq!(
        station.come_back(&back).await,
        Ok(Identity {
            provider: "github".into(),
            subject: "583231".into(),
            email: "dj@radio.example".into(),
            name: "dj".into(),
            next: "/x".into(),
            link: Some("alice".into()),
        })
    );
    assert_eq!(station.provider.asked(DOCUMENT), 0);
    assert_eq!(station.provider.state.lock().form["client_secret"], SECRET);
    let begun = station
        .oidc
        .begin(&station.config, "github", BASE, "", None, time(0))
        .await
        .unwrap();
    assert!(
        begun.location.contains("&scope=user%3Aemail&"),
        "{}",
        begun.location
    );
}

#[tokio::test]
async fn github_says_no() {
    let body = |body: &Value| (200, String::new(), body.to_string());
    let unverified = body(&json!([{"email": "dj@radio.example", "primary": true, "verified": false}]));
    let refused: (u16, String, String) = (403, String::new(), "{}".into());
    let no_info = (500, "Failed to get user info from GitHub".to_owned());
    for (path, answer, expected) in [
        (
            "/api/user/emails",
            unverified,
            (403, "Provider has not verified your email address".to_owned()),
        ),
        ("/api/user/emails", refused.clone(), no_info.clone()),
        ("/api/user", refused, no_info.clone()),
        ("/api/user", body(&json!({"login": "dj"})), no_info),
        (
            "/login/oauth/access_token",
            body(&json!({"error": "bad_verification_code"})),
            (401, "Authentication failed".into()),
        ),
    ] {
        let station = Station::new().await;
        let back = station.leave("github", "", None, 0).await;
        station.change(|state| drop(state.instead.insert(path, answer)));
        assert_eq!(told(station.come_back(&back).await), expected, "{path}");
    }
}
