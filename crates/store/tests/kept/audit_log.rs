//! The audit log: filters, pages, order, export.

use store::{AuditQuery, Store};

use crate::{Folder, at, entry, open, run};

fn filled(folder: &Folder) -> Store {
    let (store, _) = open(&folder.database());
    for (username, action, detail, time) in [
        ("alice", "login", "", "2026-08-10T12:00:00Z"),
        ("", "login_failed", "100% wrong", "2026-08-10T12:01:00Z"),
        ("alice", "user_created", "role=dj", "2026-08-10T12:02:00Z"),
        ("bob", "mount_created", "a_b\\c", "2026-08-10T12:03:00Z"),
        ("alice", "lockout_cleared", "=1+1", "2026-08-10T12:04:00Z"),
        ("bob", "hotswap", "", "2026-10-30T12:00:00Z"),
    ] {
        store.audit(entry(username, action, detail, at(time)));
    }
    store
}

#[test]
fn filters_choose_entries() {
    let folder = Folder::new();
    let store = filled(&folder);
    let any = AuditQuery::default;
    let text = |text: &str| text.to_owned();
    run(async {
        for (query, expected) in [
            (any(), vec![6, 5, 4, 3, 2, 1]),
            (
                AuditQuery {
                    category: text("auth"),
                    ..any()
                },
                vec![2, 1],
            ),
            (
                AuditQuery {
                    category: text("security"),
                    ..any()
                },
                vec![5],
            ),
            (
                AuditQuery {
                    category: text("settings"),
                    ..any()
                },
                vec![6],
            ),
            (
                AuditQuery {
                    category: text("nonsense"),
                    ..any()
                },
                vec![],
            ),
            (
                AuditQuery {
                    user: text("alice"),
                    ..any()
                },
                vec![5, 3, 1],
            ),
            (
                AuditQuery {
                    user: text("system"),
                    ..any()
                },
                vec![2],
            ),
            (
                AuditQuery {
                    action: text("login"),
                    ..any()
                },
                vec![1],
            ),
            (
                AuditQuery {
                    user: text("bob"),
                    category: text("auth"),
                    ..any()
                },
                vec![],
            ),
            (
                AuditQuery {
                    from: Some(at("2026-08-10T12:03:00Z")),
                    ..any()
                },
                vec![6, 5, 4],
            ),
            (
                AuditQuery {
                    to: Some(at("2026-08-10T12:01:00Z")),
                    ..any()
                },
                vec![1],
            ),
            (
                AuditQuery {
                    q: text("ROLE="),
                    ..any()
                },
                vec![3],
            ),
            (
                AuditQuery {
                    q: text("100%"),
                    ..any()
                },
                vec![2],
            ),
            (
                AuditQuery {
                    q: text("a_b\\"),
                    ..any()
                },
                vec![4],
            ),
            (
                AuditQuery {
                    q: text("%"),
                    ..any()
                },
                vec![2],
            ),
            (
                AuditQuery {
                    q: text("203.0.113"),
                    user: text("bob"),
                    ..any()
                },
                vec![6, 4],
            ),
            (
                AuditQuery {
                    q: text("' OR 1=1 --"),
                    ..any()
                },
                vec![],
            ),
        ] {
            let page = store.audit_page(query.clone()).await.unwrap();
            let ids: Vec<i64> = page.entries.iter().map(|entry| entry.id).collect();
            assert_eq!(
                (ids, page.total),
                (expected.clone(), expected.len() as u64),
                "{query:?}"
            );
        }
        store.close().await;
    });
}

#[test]
fn pages_are_bounded() {
    let folder = Folder::new();
    let store = filled(&folder);
    run(async {
        for (page, limit, expected) in [
            (0, 0, (1, 25, vec![6, 5, 4, 3, 2, 1])),
            (1, 4, (1, 4, vec![6, 5, 4, 3])),
            (2, 4, (2, 4, vec![2, 1])),
            (3, 4, (3, 4, vec![])),
            (1, 1_000, (1, 100, vec![6, 5, 4, 3, 2, 1])),
            (u32::MAX, u32::MAX, (u32::MAX, 100, vec![])),
        ] {
            let query = AuditQuery {
                page,
                limit,
                ..AuditQuery::default()
            };
            let page = store.audit_page(query).await.unwrap();
            let ids: Vec<i64> = page.entries.iter().map(|entry| entry.id).collect();
            assert_eq!((page.page, page.limit, ids), expected);
            assert_eq!(page.total, 6);
        }
        store.close().await;
    });
}

#[test]
fn a_page_is_json_as_the_contract_has_it() {
    let folder = Folder::new();
    let store = filled(&folder);
    run(async {
        let query = AuditQuery {
            action: "user_created".into(),
            ..AuditQuery::default()
        };
        let page = store.audit_page(query).await.unwrap();
        assert_eq!(
            serde_json::to_string(&page).unwrap(),
            r#"{"entries":[{"id":3,"timestamp":"2026-08-10T12:02:00Z","username":"alice","action":"user_created","resource_type":"user","resource_id":"bob","detail":"role=dj","ip":"203.0.113.9"}],"total":1,"page":1,"limit":25}"#
        );
        store.close().await;
    });
}

#[test]
fn an_export_comes_in_parts_and_holds_no_formula() {
    let folder = Folder::new();
    let store = filled(&folder);
    run(async {
        let query = AuditQuery {
            category: "security".into(),
            ..AuditQuery::default()
        };
        let part = store.audit_csv(query.clone(), None).await.unwrap();
        assert_eq!(
            String::from_utf8(part.bytes).unwrap(),
            "id,timestamp,username,action,resource_type,resource_id,detail,ip\r\n\
             5,2026-08-10T12:04:00Z,alice,lockout_cleared,user,bob,'=1+1,203.0.113.9\r\n"
        );
        for number in 0..5_001 {
            let time = at("2026-11-01T00:00:00Z");
            store.audit(entry("carol", "ip_banned", &number.to_string(), time));
            if number % 1_000 == 0 {
                store.flush().await;
            }
        }
        let (mut lines, mut before, mut parts) = (0, None, 0);
        loop {
            let part = store.audit_csv(query.clone(), before).await.unwrap();
            lines += part.bytes.iter().filter(|&&byte| byte == b'\n').count();
            parts += 1;
            before = part.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!((lines, parts), (1 + 5_001 + 1, 2));
        store.close().await;
    });
}
