//! Which font draws which character.
//!
//! Enters: characters. Leaves: a font that has them: DejaVu Sans first, which has σ, ᾱ and the signs of arithmetic; then
//! the shipped subsets of Noto Sans CJK and Noto Emoji; then whatever the system has. A character that none of them has is
//! remembered, so that the program can say so in the end. The shipped fonts come first, so that pictures are the same
//! on every machine as far as those reach.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use ab_glyph::{Font, FontArc, FontRef, FontVec, GlyphId};
use fontdb::{Database, ID, Source, Style, Weight as Boldness};

/// DejaVu Sans, as a TrueType file.
const REGULAR_FONT: &[u8] = include_bytes!("../../fonts/DejaVuSans.ttf");
/// DejaVu Sans Bold, as a TrueType file.
const BOLD_FONT: &[u8] = include_bytes!("../../fonts/DejaVuSans-Bold.ttf");
/// A part of Noto Sans CJK SC: Chinese, Japanese, Korean; as an OpenType file.
const CJK_FONT: &[u8] = include_bytes!("../../fonts/NotoSansCJKsc-subset.otf");
/// Noto Emoji, in one colour, as a TrueType file.
const EMOJI_FONT: &[u8] = include_bytes!("../../fonts/NotoEmoji-subset.ttf");

/// The fonts of a figure that is text itself, as CSS and SVG list them: the shipped ones, then what is elsewhere.
pub const FAMILIES: &str =
    "DejaVu Sans, Noto Sans CJK SC, Noto Emoji, Verdana, Microsoft YaHei, PingFang SC, sans-serif";

/// Emoji fill more than the em: so much smaller, they stand level with the letters.
const EMOJI_SIZE: f32 = 0.8;

/// How heavy the letters are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Weight {
    /// For labels and captions.
    #[default]
    Regular,
    /// For titles.
    Bold,
}

/// A font.
#[derive(Clone)]
pub(super) struct Face {
    pub font: FontArc,
    /// How large it is drawn beside the others.
    pub size: f32,
    /// Where its file is.
    source: (Source, u32),
    /// Tells it from the others.
    pub number: usize,
}

/// The shipped fonts: regular and bold, then what both fall back to.
static SHIPPED: LazyLock<Vec<Face>> = LazyLock::new(|| {
    let all = [(REGULAR_FONT, 1.0), (BOLD_FONT, 1.0), (CJK_FONT, 1.0), (EMOJI_FONT, EMOJI_SIZE)];
    let face = |(number, (bytes, size)): (usize, (&'static [u8], f32))| {
        let font = FontArc::from(FontRef::try_from_slice(bytes).ok()?);
        Some(Face { font, size, source: (Source::Binary(Arc::new(bytes)), 0), number })
    };
    all.into_iter().enumerate().filter_map(face).collect()
});

/// The font of the letters, which every line's height follows.
pub(super) fn letters(weight: Weight) -> Option<&'static Face> {
    SHIPPED.get(usize::from(weight == Weight::Bold))
}

/// The font that draws a character, and its glyph; none where no font has it.
pub(super) fn face(weight: Weight, letter: char) -> Option<(Face, GlyphId)> {
    let shipped = letters(weight).into_iter().chain(SHIPPED.iter().skip(2));
    for face in shipped {
        let id = face.font.glyph_id(letter);
        if id != GlyphId(0) {
            return Some((face.clone(), id));
        }
    }
    let mut system = SYSTEM.lock().unwrap_or_else(PoisonError::into_inner);
    let face = system.face(letter)?;
    let id = face.font.glyph_id(letter);
    Some((face, id))
}

/// Whether a character leaves no mark of its own: controls, joiners, selectors of a variant, tones of skin.
pub(super) fn is_silent(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
        || matches!(letter, '\u{1f3fb}'..='\u{1f3ff}' | '\u{e0100}'..='\u{e01ef}')
}

/// The characters since this was last asked that no font had.
pub fn take_missing() -> BTreeSet<char> {
    std::mem::take(&mut SYSTEM.lock().unwrap_or_else(PoisonError::into_inner).missing)
}

/// A database of the fonts that a text takes, for what draws by itself: the shipped ones, and those of the system that
/// have what the shipped ones lack.
pub fn database(text: &str) -> Arc<Database> {
    let mut database = Database::new();
    let mut known = BTreeSet::new();
    let drawn = text.chars().filter(|letter| !letter.is_ascii() && !is_silent(*letter) && !letter.is_whitespace());
    let others: Vec<Face> = drawn.filter_map(|letter| face(Weight::Regular, letter)).map(|(face, _)| face).collect();
    for face in SHIPPED.iter().chain(&others).filter(|face| known.insert(face.number)) {
        database.load_font_source(face.source.0.clone());
    }
    database.set_sans_serif_family("DejaVu Sans");
    Arc::new(database)
}

static SYSTEM: LazyLock<Mutex<System>> = LazyLock::new(Mutex::default);

/// The system's fonts, looked at only when a character calls for them.
#[derive(Default)]
struct System {
    /// None until then.
    fonts: Option<Database>,
    opened: HashMap<ID, Option<Face>>,
    found: HashMap<char, Option<ID>>,
    missing: BTreeSet<char>,
}

impl System {
    fn face(&mut self, letter: char) -> Option<Face> {
        let fonts = self.fonts.get_or_insert_with(|| {
            let mut fonts = Database::new();
            fonts.load_system_fonts();
            fonts
        });
        let opened = &mut self.opened;
        let found = *self.found.entry(letter).or_insert_with(|| search(fonts, opened, letter));
        if found.is_none() {
            self.missing.insert(letter);
        }
        found.and_then(|id| opened.get(&id).cloned().flatten())
    }
}

/// The first font that can draw the character, upright and of ordinary weight before the others.
fn search(fonts: &Database, opened: &mut HashMap<ID, Option<Face>>, letter: char) -> Option<ID> {
    let mut all: Vec<_> = fonts
        .faces()
        .map(|face| {
            let plain = face.style == Style::Normal && face.weight == Boldness::NORMAL;
            // The order of a folder's files is not always the same.
            (!plain, face.post_script_name.clone(), face.id)
        })
        .collect();
    all.sort();
    all.into_iter().map(|(.., id)| id).find(|id| {
        let number = SHIPPED.len() + opened.len();
        let face = opened.entry(*id).or_insert_with(|| open(fonts, *id, number));
        face.as_ref().is_some_and(|face| draws(&face.font, letter))
    })
}

/// Whether a font has the character as an outline; those of coloured pictures alone do not.
fn draws(font: &FontArc, letter: char) -> bool {
    let id = font.glyph_id(letter);
    id != GlyphId(0) && font.outline(id).is_some()
}

fn open(fonts: &Database, id: ID, number: usize) -> Option<Face> {
    let source = fonts.face_source(id)?;
    let bytes = fonts.with_face_data(id, |bytes, _| bytes.to_vec())?;
    let font = FontArc::from(FontVec::try_from_vec_and_index(bytes, source.1).ok()?);
    Some(Face { font, size: 1.0, source, number })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn what_people_write_is_there_in_every_weight() {
        for weight in [Weight::Regular, Weight::Bold] {
            for letter in
                "Aσᾱα·×−≤≥→°ñß…–—∞Δε½²‖∠₀√一只红苹果貓國かなカナ「」、。￥！한국어繁體漢字日本語🍎🌵🚀😀".chars()
            {
                let found = face(weight, letter);
                assert!(found.is_some_and(|(face, id)| face.font.outline(id).is_some()), "{letter}");
            }
        }
        // Letters are DejaVu's wherever it has them.
        assert_eq!(face(Weight::Bold, 'σ').unwrap().0.number, 1);
        assert_eq!(face(Weight::Bold, '猫').unwrap().0.number, 2);
    }

    #[test]
    fn a_font_of_the_system_helps_out() {
        let mut fonts = Database::new();
        fonts.load_font_source(Source::Binary(Arc::new(EMOJI_FONT)));
        fonts.load_font_source(Source::Binary(Arc::new(BOLD_FONT)));
        fonts.load_font_source(Source::Binary(Arc::new(REGULAR_FONT)));
        let mut opened = HashMap::new();
        let family = |id: Option<ID>| fonts.face(id.unwrap()).unwrap().post_script_name.clone();
        assert_eq!(family(search(&fonts, &mut opened, 'σ')), "DejaVuSans", "the ordinary weight first");
        assert!(family(search(&fonts, &mut opened, '🍎')).starts_with("NotoEmoji"));
        assert_eq!(search(&fonts, &mut opened, '\u{378}'), None);
    }

    #[test]
    fn a_text_takes_the_shipped_fonts() {
        let fonts = database("σ 苹果");
        assert_eq!(fonts.len(), 4);
        let family = |face: &fontdb::FaceInfo| face.families[0].0.clone();
        let families: BTreeSet<String> = fonts.faces().map(family).collect();
        let listed: Vec<&str> = FAMILIES.split(", ").collect();
        assert!(families.iter().all(|family| listed.contains(&family.as_str())), "{families:?}");
    }
}
