//! Numbers to text and back, in the forms of the template language.

/// Decimal digits and the place of the point: the value is `0.digits × 10^point`.
struct Decimal {
    negative: bool,
    digits: String,
    point: i32,
}

impl Decimal {
    /// From Rust's exponent form, `-1.25e3`.
    fn of(text: &str) -> Self {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let mut digits = mantissa.replace('.', "");
        let kept = digits.trim_end_matches('0').len().max(1);
        digits.truncate(kept);
        Self {
            negative,
            digits,
            point: exponent.parse::<i32>().unwrap_or_default() + 1,
        }
    }

    fn exponent_form(&self, mark: char) -> String {
        let (first, rest) = self.digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        exponent(
            &format!("{}{first}{point}{rest}", self.sign()),
            self.point - 1,
            mark,
        )
    }

    fn plain_form(&self) -> String {
        let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or_default());
        let len = i32::try_from(self.digits.len()).unwrap_or(i32::MAX);
        let sign = self.sign();
        if self.point <= 0 {
            format!("{sign}0.{}{}", zeros(-self.point), self.digits)
        } else if self.point >= len {
            format!("{sign}{}{}", self.digits, zeros(self.point - len))
        } else {
            let (whole, rest) = self
                .digits
                .split_at(usize::try_from(self.point).unwrap_or_default());
            format!("{sign}{whole}.{rest}")
        }
    }

    fn sign(&self) -> &'static str {
        if self.negative { "-" } else { "" }
    }
}

/// An exponent has a sign and at least two digits.
fn exponent(mantissa: &str, exponent: i32, mark: char) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}{mark}{sign}{:02}", exponent.unsigned_abs())
}

fn not_finite(float: f64) -> Option<String> {
    match float {
        _ if float.is_nan() => Some("NaN".to_owned()),
        _ if float.is_infinite() => Some(if float > 0.0 { "+Inf" } else { "-Inf" }.to_owned()),
        _ => None,
    }
}

/// The shortest text that reads back as the same number, with an exponent below 1e-4 and from 1e6 on.
pub(super) fn shortest(float: f64) -> String {
    general(float, None, 'e')
}

/// `%g`: as short as `precision` significant digits allow.
pub(super) fn general(float: f64, precision: Option<usize>, mark: char) -> String {
    if let Some(text) = not_finite(float) {
        return text;
    }
    if float == 0.0 {
        return if float.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let (decimal, most) = match precision {
        None => (Decimal::of(&format!("{float:e}")), 6),
        Some(precision) => {
            let precision = precision.clamp(1, MOST_DIGITS);
            let decimal = Decimal::of(&format!("{float:.*e}", precision - 1));
            let len = i32::try_from(decimal.digits.len()).unwrap_or(i32::MAX);
            let precision = i32::try_from(precision).unwrap_or(i32::MAX);
            let whole = precision > len && len >= decimal.point;
            (decimal, if whole { len } else { precision })
        }
    };
    let exponent = decimal.point - 1;
    if exponent < -4 || exponent >= most {
        decimal.exponent_form(mark)
    } else {
        decimal.plain_form()
    }
}

/// No double has more decimal digits; the standard library takes no precision above 65,535.
const MOST_DIGITS: usize = 1100;

/// The digits that can differ from zero, and the zeros after them.
fn split(precision: usize) -> (usize, usize) {
    (precision.min(MOST_DIGITS), precision.saturating_sub(MOST_DIGITS))
}

/// `%f`.
pub(super) fn fixed(float: f64, precision: usize) -> String {
    not_finite(float).unwrap_or_else(|| {
        let (exact, zeros) = split(precision);
        let mut text = format!("{float:.exact$}");
        text.extend(std::iter::repeat_n('0', zeros));
        text
    })
}

/// `%e`.
pub(super) fn scientific(float: f64, precision: usize, mark: char) -> String {
    not_finite(float).unwrap_or_else(|| {
        let (exact, zeros) = split(precision);
        let text = format!("{float:.exact$e}");
        let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
        let mantissa = mantissa.to_owned() + &"0".repeat(zeros);
        exponent(&mantissa, power.parse().unwrap_or_default(), mark)
    })
}

/// `%b`: whole mantissa, power of two.
pub(super) fn binary(float: f64) -> String {
    if let Some(text) = not_finite(float) {
        return text;
    }
    let sign = if float.is_sign_negative() { "-" } else { "" };
    let fraction = float.to_bits() & ((1 << 52) - 1);
    match i32::try_from((float.to_bits() >> 52) & 0x7ff).unwrap_or_default() {
        0 => format!("{sign}{fraction}p-1074"),
        power => format!("{sign}{}p{:+}", fraction | 1 << 52, power - 1075),
    }
}

/// `%x`: hexadecimal mantissa, power of two.
pub(super) fn hexadecimal(float: f64) -> String {
    if let Some(text) = not_finite(float) {
        return text;
    }
    let sign = if float.is_sign_negative() { "-" } else { "" };
    if float == 0.0 {
        return format!("{sign}0x0p+00");
    }
    let bits = float.to_bits();
    let mut fraction = bits & ((1 << 52) - 1);
    let mut power = i32::try_from((bits >> 52) & 0x7ff).unwrap_or_default() - 1023;
    if power == -1023 {
        // A subnormal number: shift its highest bit to where the others have theirs.
        let shift = fraction.leading_zeros() - 11;
        fraction = (fraction << shift) & ((1 << 52) - 1);
        power = -1022 - i32::try_from(shift).unwrap_or_default();
    }
    let digits = format!("{fraction:013x}");
    let digits = digits.trim_end_matches('0');
    let point = if digits.is_empty() { "" } else { "." };
    exponent(&format!("{sign}0x1{point}{digits}"), power, 'p')
}

/// As in JSON: an exponent only below 1e-6 and from 1e21 on.
pub(super) fn json(float: f64) -> String {
    let size = float.abs();
    if !float.is_finite() {
        return "null".to_owned();
    }
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let decimal = Decimal::of(&format!("{float:e}"));
        return decimal.exponent_form('e').replace("e-0", "e-");
    }
    format!("{float}")
}

/// A number constant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Constant {
    Int(i64),
    Float(f64),
}

/// Why a text is no number constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadNumber {
    Syntax,
    Overflow,
}

/// Reads a constant: decimal, `0x`, `0o`, `0b`, a leading zero for octal, underscores between digits, floats.
pub(super) fn parse(text: &str) -> Result<Constant, BadNumber> {
    let (negative, body) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = body.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ => (10, lower.as_str()),
    };
    let has_point = match radix {
        16 => digits.contains(['.', 'p']),
        _ => digits.contains(['.', 'e', 'p']),
    };
    let digits = without_underscores(digits, radix != 10).ok_or(BadNumber::Syntax)?;
    if has_point {
        let size = match radix {
            10 => parse_float(&digits),
            16 => parse_hexadecimal(&digits),
            _ => None,
        };
        let size = size.ok_or(BadNumber::Syntax)?;
        return match size.is_finite() {
            true => Ok(Constant::Float(if negative { -size } else { size })),
            false => Err(BadNumber::Syntax),
        };
    }
    let octal = radix == 10 && digits.len() > 1 && digits.starts_with('0');
    let radix = if octal && !digits.contains(['8', '9']) {
        8
    } else {
        radix
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(BadNumber::Syntax);
    }
    let size = i128::from_str_radix(&digits, radix).map_err(|_| BadNumber::Overflow)?;
    i64::try_from(if negative { -size } else { size })
        .map(Constant::Int)
        .map_err(|_| BadNumber::Overflow)
}

/// Underscores may stand between digits, and after the prefix of a radix.
fn without_underscores(digits: &str, after_prefix: bool) -> Option<String> {
    let mut digit_before = after_prefix;
    let mut out = String::with_capacity(digits.len());
    for (at, c) in digits.char_indices() {
        if c == '_' {
            let digit_after = digits[at + 1..].starts_with(|next: char| next.is_ascii_alphanumeric());
            if !digit_before || !digit_after {
                return None;
            }
        } else {
            out.push(c);
        }
        digit_before = c.is_ascii_hexdigit();
    }
    Some(out)
}

fn parse_float(text: &str) -> Option<f64> {
    let plausible = text
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | '+' | '-'));
    plausible.then(|| text.parse().ok())?
}

fn parse_hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, power) = text.split_once('p')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut size = 0.0;
    for c in whole.chars().chain(fraction.chars()) {
        size = size * 16.0 + f64::from(c.to_digit(16)?);
    }
    let places = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    let power = power.parse::<i32>().ok()?.checked_sub(places)?;
    Some(size * 2f64.powi(power))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_to_text() {
        for (float, shown, json_text) in [
            (0.0, "0", "0"),
            (-0.0, "-0", "-0"),
            (300.0, "300", "300"),
            (285.4, "285.4", "285.4"),
            (100_000.0, "100000", "100000"),
            (1e6, "1e+06", "1000000"),
            (0.0001, "0.0001", "0.0001"),
            (0.00001, "1e-05", "0.00001"),
            (1e-7, "1e-07", "1e-7"),
            (-1.5e300, "-1.5e+300", "-1.5e+300"),
        ] {
            assert_eq!(
                (shortest(float).as_str(), json(float).as_str()),
                (shown, json_text)
            );
        }
        assert_eq!(hexadecimal(f64::from_bits(1)), "0x1p-1074");
        assert_eq!(hexadecimal(-0.5), "-0x1p-01");
        let long = fixed(0.5, 100_000);
        assert!(long.len() == 100_002 && long.starts_with("0.50") && long.ends_with('0'));
        assert_eq!(scientific(0.5, 70_000, 'e').len(), 70_006);
        assert_eq!(general(0.5, Some(1_000_000), 'e'), "0.5");
    }

    #[test]
    fn constants() {
        use Constant::{Float, Int};
        for (text, expected) in [
            ("08", Ok(Int(8))),
            ("0_7", Ok(Int(7))),
            ("0x_ff", Ok(Int(255))),
            ("-0x8000000000000000", Ok(Int(i64::MIN))),
            ("9223372036854775808", Err(BadNumber::Overflow)),
            ("_1", Err(BadNumber::Syntax)),
            ("1_", Err(BadNumber::Syntax)),
            ("0x", Err(BadNumber::Syntax)),
            ("0b2", Err(BadNumber::Syntax)),
            ("-", Err(BadNumber::Syntax)),
            ("1e", Err(BadNumber::Syntax)),
            ("0x1.8p1", Ok(Float(3.0))),
            ("1e-400", Ok(Float(0.0))),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
