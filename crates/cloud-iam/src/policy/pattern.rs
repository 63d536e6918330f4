//! Wildcards of the policy language: `*` is any run of characters, `?` any one.

/// Whether `text` fits `pattern`; case decides.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star stood, and how much of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    p = at + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// As [`matches`], for actions and other names whose case does not count.
pub(crate) fn matches_ignoring_case(pattern: &str, text: &str) -> bool {
    matches(&pattern.to_ascii_lowercase(), &text.to_ascii_lowercase())
}

/// Wildcards per part of an ARN: a star does not reach over the first five colons, as `ArnLike` is defined.
pub(crate) fn matches_arn(pattern: &str, text: &str) -> bool {
    let (patterns, parts): (Vec<&str>, Vec<&str>) = (pattern.splitn(6, ':').collect(), text.splitn(6, ':').collect());
    patterns.len() == parts.len() && patterns.iter().zip(parts).all(|(pattern, part)| matches(pattern, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbbcd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*a*b", "xaaab", true),
            ("", "", true),
            ("", "a", false),
            ("arn:aws:eks:*:*:cluster/prod-*", "arn:aws:eks:us-east-1:111122223333:cluster/prod-1", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
        assert!(matches_ignoring_case("EKS:Describe*", "eks:describeCluster"));
    }

    #[test]
    fn arn_wildcards_stay_within_their_part() {
        let user = "arn:aws:iam::111122223333:user/a";
        assert!(matches_arn("arn:aws:iam::*:user/*", user));
        assert!(!matches_arn("arn:aws:*:user/*", user));
        assert!(!matches_arn("*", user));
    }
}
