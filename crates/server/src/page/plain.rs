//! Texts of strangers (comments of keys, versions of clients, names of images) as they may stand beside ours.

/// Without what would turn the letters after it around, hide them or move to another line: each such letter becomes `�`.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|letter| if is_plain(letter) { letter } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// Directions of Unicode (UAX #9) and letters without a width deceive whoever reads.
pub(super) fn is_plain(letter: char) -> bool {
    !letter.is_control()
        && !matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_stay_and_what_deceives_does_not() {
        assert_eq!(plain("grün ✓ 简体 <b>&"), "grün ✓ 简体 <b>&");
        assert_eq!(plain("a\u{202e}b\0c\rd\u{200b}e\u{2066}"), "a�b�c�d�e�");
    }
}
