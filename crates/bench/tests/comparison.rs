//! A whole comparison with the bare send loop alone: server, source and listeners in processes of their own.

use std::process::Command;

#[test]
fn a_comparison_serves_everyone_and_leaves_a_record() {
    let folder = std::env::temp_dir().join(format!("bench-comparison-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let record = folder.join("rounds.json");
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args([
            "compare",
            "--contenders=floor",
            "--flush=20",
            "--scenario=slow",
            "--listeners=40",
        ])
        .args(["--rate=2000", "--rounds=1", "--seconds=0.5", "--json"])
        .arg(&record)
        .output()
        .unwrap();
    let lines = std::fs::read_to_string(&record);
    std::fs::remove_dir_all(&folder).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        text.contains("| floor 20 ms | ") && text.contains("| 1 of 1 |"),
        "{text}{said}"
    );
    let line: serde_json::Value = serde_json::from_str(lines.unwrap().trim()).unwrap();
    let report = &line["result"]["report"];
    assert_eq!(
        (&report["wanted"], &report["on"], &report["dropped"]),
        (&40.into(), &40.into(), &0.into())
    );
    assert!(report["findings"]["frames"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(
        (&report["findings"]["gaps"], &report["findings"]["corrupt"]),
        (&0.into(), &0.into())
    );
    assert!(line["result"]["cpu"].as_u64().unwrap() > 0, "{line}");
}

#[test]
fn mistakes_end_with_an_error() {
    for words in [
        &["compare", "--scenario=unknown"][..],
        &["compare", "--ruonds=3"],
        &["load"],
        &["memory", "--server=none"],
        &["nonsense"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_bench"))
            .args(words)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert!(!output.stderr.is_empty(), "{words:?}");
    }
}
