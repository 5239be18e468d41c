//! The settings of outside providers.
//!
//! Contract: secrets of providers go in and never come out, and an identity never outlives the issuer that it is from.

use auth::{Action, check_way_in};
use config::{Config, OidcProvider};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::AuditAction;

use crate::endpoint::{
    Answer, Call, Endpoint, Json, NoQuery, Refusal, Status, delete, get, group, post, put, status,
};

/// What stands for a secret.
const MASK: &str = "********";
/// Pictures that buttons have.
const ICONS: [&str; 3] = ["google", "github", "key"];
/// The provider that speaks OAuth of its own and needs no address.
const GITHUB: &str = "github";
/// Names, addresses and secrets are no longer than this.
const LONGEST: usize = 2_048;

pub(super) fn endpoints() -> Vec<Endpoint> {
    let rejected = "The address may not be asked, or something is missing";
    let last_way_in = "No superadmin could sign in any more";
    group(
        "Sign-in providers",
        vec![
            get("/api/oidc/providers/config", Action::ProvidersRead, list)
                .says("All providers with their settings, without their secrets"),
            post("/api/oidc/providers/config", Action::ProvidersUpdate, create)
                .says("Add a provider")
                .fails(400, rejected)
                .fails(409, "There is a provider of this id"),
            put("/api/oidc/providers/config", Action::ProvidersUpdate, update)
                .says("Change a provider; what is not given stays")
                .details("Another `discovery_url` is another issuer: identities that were linked by the old one end.")
                .fails(400, rejected)
                .fails(404, "There is no such provider")
                .fails(409, last_way_in)
                .and_patch(),
            delete("/api/oidc/providers/config", Action::ProvidersUpdate, remove)
                .says("Remove a provider and the identities that were linked by it")
                .fails(404, "There is no such provider")
                .fails(409, last_way_in),
        ],
    )
}

/// A provider with its settings.
#[derive(Debug, Serialize, JsonSchema)]
struct Row {
    id: String,
    name: String,
    client_id: String,
    /// `********` where one is stored.
    client_secret: &'static str,
    /// The issuer.
    discovery_url: String,
    icon: String,
    enabled: bool,
}

async fn list(call: Call, _: NoQuery, (): ()) -> Answer<Json<Vec<Row>>> {
    let config = call.config();
    let row = |provider: &OidcProvider| Row {
        id: provider.id.clone(),
        name: provider.name.clone(),
        client_id: provider.client_id.clone(),
        client_secret: if provider.client_secret.is_empty() {
            ""
        } else {
            MASK
        },
        discovery_url: provider.discovery_url.clone(),
        icon: provider.icon.clone(),
        enabled: provider.enabled,
    };
    Ok(Json(config.oidc_providers.iter().map(row).collect()))
}

/// A provider to be, or what is to change of one.
#[derive(Debug, Default, Deserialize, JsonSchema)]
struct Wanted {
    /// Part of the address of its login page: letters, digits, `-` and `_`. `github` is GitHub.
    #[serde(default)]
    id: String,
    /// Shown on the button.
    #[serde(default)]
    name: Option<String>,
    /// Given by the provider.
    #[serde(default)]
    client_id: Option<String>,
    /// Given by the provider; `********` and nothing keep what is stored.
    #[serde(default)]
    client_secret: Option<String>,
    /// The issuer, or the address of its discovery document.
    #[serde(default)]
    discovery_url: Option<String>,
    /// `google`, `github` or `key`.
    #[serde(default)]
    icon: Option<String>,
    /// Whether it is offered; a new one is unless this is false.
    #[serde(default)]
    enabled: Option<bool>,
}

/// Which provider.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// Its id.
    #[serde(default)]
    id: String,
}

async fn create(call: Call, _: NoQuery, Json(body): Json<Wanted>) -> Answer<Json<Status>> {
    let id = check_id(&body.id)?;
    check_url(&call, &body)?;
    call.change(move |config| {
        if config
            .oidc_providers
            .iter()
            .any(|provider| provider.id == body.id)
        {
            return Err(Refusal::conflict("Provider already exists"));
        }
        let mut blank = OidcProvider::new(body.id.clone());
        blank.guarded = true;
        if blank.id == GITHUB {
            GITHUB.clone_into(&mut blank.icon);
        }
        config.oidc_providers.push(changed(&blank, body)?);
        Ok(())
    })
    .await?;
    call.audit(
        AuditAction::SettingsUpdated,
        "settings",
        &id,
        "sign-in provider added",
    );
    Ok(status("created"))
}

async fn update(call: Call, query: Which, Json(mut body): Json<Wanted>) -> Answer<Json<Status>> {
    if !query.id.is_empty() {
        body.id = query.id;
    }
    let id = check_id(&body.id)?;
    check_url(&call, &body)?;
    call.change(move |config| {
        let before = config.clone();
        let provider = find(config, &body.id)?;
        let new = changed(provider, body)?;
        let other_issuer = new.discovery_url != provider.discovery_url;
        let id = new.id.clone();
        *provider = new;
        if other_issuer {
            forget(config, &id);
        }
        Ok(check_way_in(&before, config)?)
    })
    .await?;
    call.audit(
        AuditAction::SettingsUpdated,
        "settings",
        &id,
        "sign-in provider changed",
    );
    Ok(status("updated"))
}

async fn remove(call: Call, query: Which, (): ()) -> Answer<Json<Status>> {
    let id = check_id(&query.id)?;
    let wanted = id.clone();
    call.change(move |config| {
        let before = config.clone();
        find(config, &wanted)?;
        config.oidc_providers.retain(|provider| provider.id != wanted);
        forget(config, &wanted);
        Ok(check_way_in(&before, config)?)
    })
    .await?;
    call.audit(
        AuditAction::SettingsUpdated,
        "settings",
        &id,
        "sign-in provider removed",
    );
    Ok(status("deleted"))
}

fn find<'a>(config: &'a mut Config, id: &str) -> Answer<&'a mut OidcProvider> {
    let provider = config
        .oidc_providers
        .iter_mut()
        .find(|provider| provider.id == id);
    provider.ok_or_else(|| Refusal::missing("Provider not found"))
}

/// What one issuer calls somebody is no name at another.
fn forget(config: &mut Config, id: &str) {
    for user in config.users.values_mut() {
        user.linked_identities.retain(|identity| identity.provider != id);
    }
}

fn check_id(id: &str) -> Answer<String> {
    let legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if id.is_empty() {
        return Err(Refusal::bad("ID is required"));
    }
    if id.len() > 64 || !id.chars().all(legal) {
        return Err(Refusal::bad(
            "ID must be up to 64 letters, digits, \"-\" and \"_\"",
        ));
    }
    Ok(id.to_owned())
}

/// What the server asks on behalf of the API is asked like everything else of that kind.
fn check_url(call: &Call, wanted: &Wanted) -> Answer<()> {
    let Some(text) = wanted
        .discovery_url
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty())
    else {
        return Ok(());
    };
    let rejected = |reason: String| Refusal::bad(format!("URL rejected: {reason}"));
    let url: url::Url = text
        .parse()
        .map_err(|error: url::ParseError| rejected(error.to_string()))?;
    let policy = outbound::Policy::of_config(&call.config());
    policy
        .check_url(&url)
        .map_err(|refused| rejected(refused.to_string()))
}

/// The provider with what is wanted of it.
fn changed(old: &OidcProvider, wanted: Wanted) -> Answer<OidcProvider> {
    let text = |name: &str, new: Option<String>, old: &str| -> Answer<String> {
        let text = new.map_or_else(|| old.to_owned(), |new| new.trim().to_owned());
        if text.len() > LONGEST || text.chars().any(char::is_control) {
            return Err(Refusal::bad(format!(
                "{name}: too long, or with control characters"
            )));
        }
        Ok(text)
    };
    let secret = wanted
        .client_secret
        .filter(|secret| !secret.is_empty() && secret != MASK);
    let mut provider = OidcProvider {
        id: old.id.clone(),
        name: text("name", wanted.name, &old.name)?,
        client_id: text("client_id", wanted.client_id, &old.client_id)?,
        client_secret: text("client_secret", secret, &old.client_secret)?,
        discovery_url: text("discovery_url", wanted.discovery_url, &old.discovery_url)?,
        icon: text("icon", wanted.icon, &old.icon)?,
        enabled: wanted.enabled.unwrap_or(old.enabled),
        guarded: old.guarded,
    };
    // Who can change the address by the API may still not reach what only this machine should.
    provider.guarded |= provider.discovery_url != old.discovery_url;
    if provider.client_id.is_empty() {
        return Err(Refusal::bad("client_id is required"));
    }
    if provider.discovery_url.is_empty() && provider.id != GITHUB {
        return Err(Refusal::bad("discovery_url is required"));
    }
    if !ICONS.contains(&provider.icon.as_str()) {
        return Err(Refusal::bad("icon must be \"google\", \"github\" or \"key\""));
    }
    Ok(provider)
}

#[cfg(test)]
mod tests {
    use config::{LinkedIdentity, Role, User};

    use super::*;

    fn google() -> OidcProvider {
        OidcProvider {
            name: "Google".into(),
            client_id: "id".into(),
            client_secret: "hush".into(),
            discovery_url: "https://accounts.example".into(),
            icon: "google".into(),
            ..OidcProvider::new("google".into())
        }
    }

    #[test]
    fn what_is_not_given_stays_and_a_mask_is_no_secret() {
        for (json, expected) in [
            ("{}", Ok(google())),
            (
                r#"{"client_secret":"********","enabled":false}"#,
                Ok(OidcProvider {
                    enabled: false,
                    ..google()
                }),
            ),
            (
                r#"{"client_secret":" new ","name":"G"}"#,
                Ok(OidcProvider {
                    client_secret: "new".into(),
                    name: "G".into(),
                    ..google()
                }),
            ),
            (r#"{"discovery_url":" https://accounts.example "}"#, Ok(google())),
            (
                r#"{"discovery_url":"https://other.example"}"#,
                Ok(OidcProvider {
                    discovery_url: "https://other.example".into(),
                    guarded: true,
                    ..google()
                }),
            ),
            (r#"{"client_id":" "}"#, Err("client_id is required")),
            (r#"{"discovery_url":""}"#, Err("discovery_url is required")),
            (
                r#"{"icon":"x"}"#,
                Err("icon must be \"google\", \"github\" or \"key\""),
            ),
            (
                r#"{"name":"a\nb"}"#,
                Err("name: too long, or with control characters"),
            ),
        ] {
            let made = changed(&google(), serde_json::from_str(json).unwrap());
            match (made, expected) {
                (Ok(made), Ok(expected)) => assert!(made == expected, "{json}"),
                (made, expected) => {
                    assert_eq!(
                        made.err().map(|refusal| refusal.text().to_owned()).as_deref(),
                        expected.err(),
                        "{json}"
                    );
                }
            }
        }
    }

    #[test]
    fn ids_are_parts_of_addresses() {
        for (id, expected) in [
            ("google", true),
            ("my-idp_2", true),
            ("", false),
            ("a/b", false),
            ("a b", false),
            ("ü", false),
        ] {
            assert_eq!(check_id(id).is_ok(), expected, "{id}");
        }
        assert!(check_id(&"a".repeat(65)).is_err());
    }

    #[test]
    fn identities_go_with_their_provider() {
        let mut config = Config::default();
        let mut user = User::new("ann".into(), String::new(), Role::Dj);
        let identity = |provider: &str| LinkedIdentity::new(provider.into(), "1".into());
        user.linked_identities = vec![identity("google"), identity("github")];
        config.users.insert("ann".into(), user);
        forget(&mut config, "google");
        let left: Vec<_> = config.users["ann"]
            .linked_identities
            .iter()
            .map(|identity| identity.provider.as_str())
            .collect();
        assert_eq!(left, ["github"]);
    }
}
