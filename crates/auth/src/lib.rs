//! Who may do what: accounts, sessions, tokens, passwords, bans, lockouts.
//!
//! Contract: everything that puts bytes on a mount or changes the server asks here, and what is not proven is
//! refused. This crate decides and writes the authentication trail; it never renders an answer.
//!
//! Reading order: `matrix` (who may do what), `caller` (who a request is from), `login`, `sessions`, `tokens`, `csrf`,
//! then `auth` and `source` (the one place that decides, and encoders), `attempt`, `lockout`, `slowdown`, `scan`,
//! `gate` (who is kept out), and the rules for changes: `accounts`, `ownership`, `pending`, `setup`, `ban`.

mod accounts;
mod attempt;
mod auth;
mod ban;
mod caller;
mod credentials;
mod csrf;
mod email;
mod gate;
mod locked_out;
mod lockout;
mod login;
mod matrix;
pub mod metrics;
mod ownership;
mod password;
mod pending;
mod random;
mod rule_error;
mod scan;
mod sessions;
mod setup;
mod slowdown;
mod source;
mod table;
mod token_uses;
mod tokens;
mod trail;

pub use accounts::{
    AccountError, Changed, MountGrants, NewUser, PasswordError, UserChange, check_password, check_user_name,
    check_way_in, create_user, delete_user, parse_role, update_user,
};
pub use attempt::Lockout;
pub use auth::{Auth, Verdict};
pub use ban::{
    BanError, BanRow, Listed, NewBan, add_ban, add_whitelisted, bans, has_expired_bans, net_text, purge_bans,
    remove_ban, remove_whitelisted,
};
pub use caller::{Account, Caller, Identified, LockedOutUntil, Presented, Proof, SessionRef, TokenRef};
pub use credentials::Credentials;
pub use csrf::{Carried, ChangeRequest, CsrfRefusal, check_csrf};
pub use gate::Gate;
pub use lockout::{Failure, Locked, Lockouts};
pub use login::{Login, SessionError, SignIn, safe_next};
pub use matrix::{About, Access, Action, Grant, Rule, Scope, TokenNeeds, access, permits};
pub use ownership::{Holder, MountError, claim_mount, delete_mount, holder, owners, set_mount_password};
pub use password::{Busy, HashError, PasswordCheck, PoolSettings};
pub use pending::{
    AccessRequest, Approval, PendingError, Requested, approve_pending, deny_pending, has_expired_requests,
    pending_users, purge_pending, request_access,
};
pub use rule_error::{Kind, RuleError};
pub use scan::Scans;
pub use sessions::{NewSession, SESSION_IDLE, SESSION_LIFE, SessionChange, SessionRow, StoredSession};
pub use setup::{Completed, Completion, SetupCheck, SetupError, SetupToken, SourcePassword, complete_setup};
pub use source::{Opener, Protocol, SourceVerdict, source_hashes};
pub use token_uses::TokenUse;
pub use tokens::{CreatedToken, NewToken, TokenError, TokenRow, create_token, revoke_token};
