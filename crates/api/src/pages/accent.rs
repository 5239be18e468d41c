//! The station's colour, made to work on light and on dark pages.
//!
//! Contract: whatever colour is configured, text in it has a contrast of 4.5:1 and controls one of 3:1 (WCAG 2.2,
//! criteria 1.4.3 and 1.4.11), and the style sheet made of it holds nothing but colours.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

/// What the pages are drawn on; `site.css` has the same colours.
const LIGHT: Surface = Surface {
    page: Rgb([0xf6, 0xf5, 0xf2]),
    card: Rgb([0xff, 0xff, 0xff]),
    ink: Rgb([0, 0, 0]),
};
const DARK: Surface = Surface {
    page: Rgb([0x12, 0x11, 0x10]),
    card: Rgb([0x1d, 0x1b, 0x19]),
    ink: Rgb([255, 255, 255]),
};

const TEXT: f64 = 4.5;
const CONTROL: f64 = 3.0;

/// The style element that carries the colour, and what allows just this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Theme {
    /// The rules.
    pub(super) css: String,
    /// Their hash as a source expression of a content security policy.
    pub(super) hash: String,
}

impl Theme {
    /// The theme of a configured colour, `#rgb` or `#rrggbb`; anything else counts as the default.
    pub(super) fn new(accent: &str) -> Self {
        let accent = Rgb::parse(accent).unwrap_or(Rgb([0xff, 0x66, 0x00]));
        let light = LIGHT.rules(accent);
        let dark = DARK.rules(accent);
        let css = format!(
            ":root{{{light}}}@media(prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}\
             :root[data-theme=dark]{{{dark}}}"
        );
        let hash = format!("'sha256-{}'", STANDARD.encode(Sha256::digest(css.as_bytes())));
        Self { css, hash }
    }
}

struct Surface {
    page: Rgb,
    card: Rgb,
    /// What colours that are too weak are mixed with.
    ink: Rgb,
}

impl Surface {
    fn rules(&self, accent: Rgb) -> String {
        let tint = self.card.mix(accent, 0.1);
        let grounds = [self.page, self.card, tint];
        let fill = self.strengthen(accent, &grounds, CONTROL);
        let text = self.strengthen(accent, &grounds, TEXT);
        let on_fill = [Rgb([0, 0, 0]), Rgb([255, 255, 255])]
            .into_iter()
            .max_by(|a, b| a.contrast(fill).total_cmp(&b.contrast(fill)))
            .unwrap_or(self.ink);
        format!("--accent:{fill};--on-accent:{on_fill};--accent-text:{text};--accent-tint:{tint}")
    }

    /// The nearest mixture of the colour with ink that is told from all grounds.
    fn strengthen(&self, colour: Rgb, grounds: &[Rgb], contrast: f64) -> Rgb {
        (0..=20)
            .map(|step| colour.mix(self.ink, f64::from(step) / 20.0))
            .find(|mixed| grounds.iter().all(|ground| mixed.contrast(*ground) >= contrast))
            .unwrap_or(self.ink)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rgb([u8; 3]);

impl Rgb {
    fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text
            .strip_prefix('#')?
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()?;
        match digits[..] {
            [r, g, b] => Some(Self([r * 17, g * 17, b * 17])),
            [r, s, g, h, b, c] => Some(Self([r * 16 + s, g * 16 + h, b * 16 + c])),
            _ => None,
        }
    }

    fn mix(self, other: Self, share: f64) -> Self {
        let channel = |index: usize| {
            let mixed = f64::from(self.0[index]) * (1.0 - share) + f64::from(other.0[index]) * share;
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between two bytes"
            )]
            let byte = mixed.round() as u8;
            byte
        };
        Self([channel(0), channel(1), channel(2)])
    }

    /// WCAG 2.2, "contrast ratio".
    fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// WCAG 2.2, "relative luminance".
    fn luminance(self) -> f64 {
        let linear = |channel: u8| {
            let share = f64::from(channel) / 255.0;
            if share <= 0.04045 {
                share / 12.92
            } else {
                ((share + 0.055) / 1.055).powf(2.4)
            }
        };
        let [r, g, b] = self.0.map(linear);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }
}

impl std::fmt::Display for Rgb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [r, g, b] = self.0;
        write!(f, "#{r:02x}{g:02x}{b:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_three_or_six_digits() {
        for (text, expected) in [
            ("#f60", Some([0xff, 0x66, 0x00])),
            ("#12aBcD", Some([0x12, 0xab, 0xcd])),
            ("f60", None),
            ("#ff66", None),
            ("#f6;", None),
            ("#\u{ff10}\u{ff10}\u{ff10}", None),
            ("", None),
        ] {
            assert_eq!(Rgb::parse(text), expected.map(Rgb), "{text}");
        }
    }

    #[test]
    fn every_colour_can_be_read_in_both_modes() {
        let accents = [
            "#ff6600", "#fff", "#000", "#ffff00", "#0000ff", "#9b59b6", "#808080", "#00ff00",
        ];
        for (accent, surface) in accents
            .iter()
            .flat_map(|accent| [(accent, &LIGHT), (accent, &DARK)])
        {
            let rules = surface.rules(Rgb::parse(accent).unwrap());
            let colour = |name: &str| {
                let value = rules.split(';').find_map(|rule| rule.strip_prefix(name)).unwrap();
                Rgb::parse(value).unwrap()
            };
            let (fill, on, text) = (
                colour("--accent:"),
                colour("--on-accent:"),
                colour("--accent-text:"),
            );
            assert!(on.contrast(fill) >= TEXT, "{accent} {rules}");
            for ground in [surface.page, surface.card, colour("--accent-tint:")] {
                assert!(
                    fill.contrast(ground) >= CONTROL && text.contrast(ground) >= TEXT,
                    "{accent} {rules}"
                );
            }
        }
    }

    #[test]
    fn the_hash_is_the_one_that_browsers_compute() {
        // `printf %s "$css" | openssl dgst -sha256 -binary | base64`
        assert_eq!(
            STANDARD.encode(Sha256::digest(b"")),
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
        );
        let theme = Theme::new("red;}");
        assert_eq!(theme, Theme::new("#ff6600"));
        assert_eq!(
            theme.hash,
            format!(
                "'sha256-{}'",
                STANDARD.encode(Sha256::digest(theme.css.as_bytes()))
            )
        );
    }
}
