//! Stamps the commit and the compiler into the version line.
//!
//! Contract: a build without git, or outside of a checkout, works and says commit 000000000000.
//! Packagers that build from an archive set `TINYICE_COMMIT`.

use std::{env, path::Path, process::Command};

fn main() {
    let commit = env::var("TINYICE_COMMIT")
        .ok()
        .or_else(|| output("git", &["rev-parse", "HEAD"]));
    let commit: String = commit
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(12)
        .collect();
    let commit = if commit.len() == 12 {
        commit
    } else {
        "0".repeat(12)
    };
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    // "rustc 1.90.0 (0123abcd 2025-01-01)": the first two words.
    let compiler = output(&rustc, &["--version"]).unwrap_or_default();
    let words: Vec<&str> = compiler.split_whitespace().take(2).collect();
    let compiler = if words.len() == 2 {
        words.join(" ")
    } else {
        "rustc unknown".to_owned()
    };
    println!(
        "cargo::rustc-env=TINYICE_BUILD_COMMIT={}",
        commit.to_ascii_lowercase()
    );
    println!("cargo::rustc-env=TINYICE_BUILD_COMPILER={compiler}");
    // Cargo sets it for every build script.
    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo::rustc-env=TINYICE_BUILD_TARGET={target}");
    println!("cargo::rerun-if-env-changed=TINYICE_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    // HEAD changes with the branch, the log with every commit; a missing file would rebuild each time.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = output("git", &["rev-parse", "--git-path", name])
            && Path::new(&path).exists()
        {
            println!("cargo::rerun-if-changed={path}");
        }
    }
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
