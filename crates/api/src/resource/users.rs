//! Accounts.
//!
//! Contract: hashes of passwords go in and never come out.

use auth::{Action, MountGrants, NewUser, UserChange};
use config::User;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::AuditAction;

use super::{
    forms::{self, Back, back},
    passkeys::Passkey,
};
use crate::endpoint::{
    Answer, Call, Endpoint, Form, Json, NoQuery, Refusal, Status, delete, get, group, mount_name, post, put,
    status,
};

pub(super) fn endpoints() -> Vec<Endpoint> {
    group(
        "Users",
        vec![
            get("/api/users", Action::UsersRead, list).says("Accounts, by name"),
            post("/api/users", Action::UserCreate, create)
                .says("Make an account")
                .details("The role is `admin` where none is given.")
                .fails(409, "There is such an account")
                .fails(503, "Too many passwords are being hashed"),
            put("/api/users", Action::UserUpdate, update)
                .says("Change an account")
                .details(
                    "What is not given stays, and so does what is empty, `mounts` and `linked_emails` excepted. A \
                     new password or role ends the account's sessions.",
                )
                .fails(404, "There is no such account or passkey")
                .fails(
                    409,
                    "It is the last superadmin that can sign in, or an address is somebody else's",
                )
                .fails(503, "Too many passwords are being hashed")
                .and_patch(),
            delete("/api/users", Action::UserDelete, remove)
                .says("Remove an account with its tokens, passkeys and sessions")
                .fails(404, "There is no such account")
                .fails(409, "It is the last superadmin that can sign in"),
        ],
    )
}

/// The forms of the old interface.
pub(super) fn forms() -> Vec<Endpoint> {
    vec![
        post("/admin/add-user", Action::UserCreate, add_user)
            .says("Make an admin: `username`, `password`")
            .deprecated()
            .fails(409, "There is such an account"),
        post("/admin/remove-user", Action::UserDelete, remove_user)
            .says("Remove an account: `username`")
            .deprecated()
            .fails(404, "There is no such account")
            .fails(409, "It is the last superadmin that can sign in"),
    ]
}

/// An account.
#[derive(Debug, Serialize, JsonSchema)]
struct Row {
    username: String,
    /// `superadmin`, `admin` or `dj`.
    role: &'static str,
    /// The mounts that are its own.
    mounts: Vec<String>,
    /// Whether it can sign in with a password.
    has_password: bool,
    /// Addresses that sign in by an outside provider; the first gets notices.
    linked_emails: Vec<String>,
    passkeys: Vec<Passkey>,
    /// RFC 3339; null where that is not known.
    last_login: Option<String>,
}

async fn list(call: Call, _: NoQuery, (): ()) -> Answer<Json<Vec<Row>>> {
    let row = |(name, user): (&String, &User)| Row {
        username: name.clone(),
        role: user.role.as_str(),
        mounts: user.mounts.keys().map(ToString::to_string).collect(),
        has_password: config::is_bcrypt(&user.password),
        linked_emails: user.linked_emails.clone(),
        passkeys: user.passkeys.iter().map(Passkey::of).collect(),
        last_login: call.parts.auth.last_login(name).map(|at| at.to_string()),
    };
    Ok(Json(call.config().users.iter().map(row).collect()))
}

/// A mount that is given to somebody.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Granted {
    /// The mount; a password that the account has for it stays.
    Mount(String),
    /// With a source password of the account's own.
    WithPassword {
        /// The mount.
        mount: String,
        /// At most 72 bytes.
        password: String,
    },
}

/// Mounts as the rules want them, with their passwords hashed.
pub(super) async fn grants(call: &Call, granted: &[Granted]) -> Answer<MountGrants> {
    let mut grants = MountGrants::new();
    for granted in granted {
        let (mount, password) = match granted {
            Granted::Mount(mount) => (mount, ""),
            Granted::WithPassword { mount, password } => (mount, password.as_str()),
        };
        let mount = mount_name(mount)?;
        let hash = match password {
            "" => None,
            password => Some(call.parts.auth.hash_source_password(password).await?),
        };
        grants.insert(mount, hash);
    }
    Ok(grants)
}

/// An account to be.
#[derive(Debug, Default, Deserialize, JsonSchema)]
struct Create {
    /// Required; 1 to 64 characters without control characters and `:`.
    #[serde(default)]
    username: String,
    /// Required; 8 to 72 bytes.
    #[serde(default)]
    password: String,
    /// `superadmin`, `admin` or `dj`; `admin` if left out.
    #[serde(default)]
    role: Option<String>,
    /// Mounts of its own.
    #[serde(default)]
    mounts: Option<Vec<Granted>>,
    /// Addresses that sign in by an outside provider.
    #[serde(default)]
    linked_emails: Option<Vec<String>>,
}

/// What was made.
#[derive(Debug, Serialize, JsonSchema)]
struct Created {
    status: &'static str,
    username: String,
}

async fn create(call: Call, _: NoQuery, Json(body): Json<Create>) -> Answer<Json<Created>> {
    let username = make(&call, body).await?;
    Ok(Json(Created {
        status: "created",
        username,
    }))
}

async fn make(call: &Call, body: Create) -> Answer<String> {
    if body.username.is_empty() || body.password.is_empty() {
        return Err(Refusal::bad("Username and password are required"));
    }
    auth::check_user_name(&body.username)?;
    let role = match body.role.as_deref() {
        None | Some("") => config::Role::Admin,
        Some(word) => auth::parse_role(word)?,
    };
    // Looked up again under the lock; here it saves the work on the passwords.
    if call.config().users.contains_key(&body.username) {
        return Err(auth::AccountError::Taken.into());
    }
    let mounts = grants(call, &body.mounts.unwrap_or_default()).await?;
    let wanted = NewUser {
        mounts,
        linked_emails: body.linked_emails.unwrap_or_default(),
        ..NewUser::new(
            body.username.clone(),
            call.parts.auth.hash_password(&body.password).await?,
            role,
        )
    };
    call.change(move |config| Ok(auth::create_user(config, wanted)?))
        .await?;
    call.audit(
        AuditAction::UserCreated,
        "user",
        &body.username,
        &format!("role={}", role.as_str()),
    );
    Ok(body.username)
}

/// Changes of an account.
#[derive(Debug, Deserialize, JsonSchema)]
struct Update {
    /// Whose.
    #[serde(default)]
    username: String,
    /// A new password, 8 to 72 bytes.
    #[serde(default)]
    password: Option<String>,
    /// `superadmin`, `admin` or `dj`.
    #[serde(default)]
    role: Option<String>,
    /// All its mounts; those that are not named are taken away.
    #[serde(default)]
    mounts: Option<Vec<Granted>>,
    /// All its addresses.
    #[serde(default)]
    linked_emails: Option<Vec<String>>,
    /// Ids of passkeys to remove.
    #[serde(default)]
    remove_passkeys: Option<Vec<String>>,
}

async fn update(call: Call, _: NoQuery, Json(body): Json<Update>) -> Answer<Json<Status>> {
    let username = body.username;
    if !call.config().users.contains_key(&username) {
        return Err(auth::AccountError::NotFound.into());
    }
    let role = body
        .role
        .as_deref()
        .filter(|word| !word.is_empty())
        .map(auth::parse_role)
        .transpose()?;
    let remove_passkeys = body.remove_passkeys.unwrap_or_default();
    let mounts = match &body.mounts {
        Some(mounts) => Some(grants(&call, mounts).await?),
        None => None,
    };
    let password_hash = match body.password.as_deref().filter(|password| !password.is_empty()) {
        Some(password) => Some(call.parts.auth.hash_password(password).await?),
        None => None,
    };
    let what = [
        role.map(|role| format!("role={}", role.as_str())),
        password_hash.as_ref().map(|_| "password".to_owned()),
        mounts
            .as_ref()
            .map(|mounts| format!("mounts={}", listed(mounts.keys()))),
        body.linked_emails
            .as_ref()
            .map(|emails| format!("linked_emails={}", listed(emails))),
        (!remove_passkeys.is_empty()).then(|| format!("passkeys removed: {}", remove_passkeys.len())),
    ];
    let change = UserChange {
        password_hash,
        role,
        mounts,
        linked_emails: body.linked_emails,
        remove_passkeys,
    };
    let name = username.clone();
    let changed = call
        .change(move |config| Ok(auth::update_user(config, &name, change)?))
        .await?;
    if changed.ends_sessions {
        let caller = call.caller()?;
        let is_own = caller.account.name == username;
        let kept = caller
            .session()
            .filter(|_| is_own)
            .map(|session| session.id.as_str());
        call.parts.auth.end_of_user(&username, kept);
    }
    let detail = what.into_iter().flatten().collect::<Vec<_>>().join(", ");
    call.audit(AuditAction::UserUpdated, "user", &username, &detail);
    Ok(status("updated"))
}

fn listed(values: impl IntoIterator<Item = impl ToString>) -> String {
    values
        .into_iter()
        .map(|value| value.to_string())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Which account.
#[derive(Debug, Deserialize, JsonSchema)]
struct Which {
    /// Its name.
    #[serde(default)]
    username: String,
}

async fn remove(call: Call, query: Which, (): ()) -> Answer<Json<Status>> {
    drop_user(&call, &query.username).await?;
    Ok(status("deleted"))
}

async fn drop_user(call: &Call, username: &str) -> Answer<()> {
    let (caller, name) = (call.caller()?.account.name.clone(), username.to_owned());
    let removed = call
        .change(move |config| Ok(auth::delete_user(config, &caller, &name)?))
        .await?;
    call.parts.auth.end_of_user(username, None);
    call.audit(
        AuditAction::UserDeleted,
        "user",
        username,
        &format!("role={}", removed.role.as_str()),
    );
    Ok(())
}

async fn add_user(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    let form = forms::fields(&call, form);
    let text = |name| form.get(name).unwrap_or_default().to_owned();
    let body = Create {
        username: text("username"),
        password: text("password"),
        ..Create::default()
    };
    make(&call, body).await?;
    Ok(back("/admin"))
}

async fn remove_user(call: Call, _: NoQuery, form: Form) -> Answer<Back> {
    let form = forms::fields(&call, form);
    drop_user(&call, form.get("username").unwrap_or_default()).await?;
    Ok(back("/admin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_granted_with_or_without_a_password() {
        let read: Vec<Granted> = serde_json::from_str(r#"["/a", {"mount": "/b", "password": "x"}]"#).unwrap();
        let with = Granted::WithPassword {
            mount: "/b".into(),
            password: "x".into(),
        };
        assert_eq!(read, [Granted::Mount("/a".into()), with]);
        for wrong in ["[1]", r#"[{"mount": "/b"}]"#, "[null]", r#""/a""#] {
            assert!(serde_json::from_str::<Vec<Granted>>(wrong).is_err(), "{wrong}");
        }
    }
}
