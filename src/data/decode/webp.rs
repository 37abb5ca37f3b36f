//! The parts of a WebP file.

use super::{Undecodable, truncated};

/// Name and content.
pub type Chunk<'a> = (&'a [u8; 4], &'a [u8]);

/// What of a file counts: libwebp reads no further than the length in its first bytes, nor may a
/// decoder find anything there that [`chunks`] does not.
pub fn within(bytes: &[u8]) -> &[u8] {
    let length = bytes.get(4..8).and_then(|length| length.first_chunk());
    let length = length.map_or(0, |&length| u32::from_le_bytes(length) as usize);
    &bytes[..bytes.len().min(length.saturating_add(8))]
}

/// The chunks of a file, those in the frames of an animation too. One that goes beyond the end of the
/// file, or of its frame, is refused, as libwebp does.
pub fn chunks(bytes: &[u8]) -> Result<Vec<Chunk<'_>>, Undecodable> {
    const FRAME_HEADER: usize = 16;
    let mut all = Vec::new();
    for (name, content) in row(within(bytes).get(12..))? {
        all.push((name, content));
        if name == b"ANMF" {
            all.extend(row(content.get(FRAME_HEADER..))?);
        }
    }
    Ok(all)
}

/// Chunks one behind the other.
fn row(bytes: Option<&[u8]>) -> Result<Vec<Chunk<'_>>, Undecodable> {
    let mut chunks = Vec::new();
    let mut rest = bytes.unwrap_or_default();
    while let Some((name, after)) = rest.split_first_chunk::<4>() {
        let Some((length, content)) = after.split_first_chunk::<4>() else {
            break;
        };
        let length = u32::from_le_bytes(*length) as usize;
        chunks.push((name, content.get(..length).ok_or_else(truncated)?));
        rest = content
            .get(length.next_multiple_of(2)..)
            .unwrap_or_default();
    }
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beyond_the_length_of_the_file_is_not_there() {
        let file = |length: u32| {
            let head = [&b"RIFF"[..], &length.to_le_bytes(), b"WEBP"].concat();
            [&head[..], b"EXIF\x01\0\0\0x\0", b"XMP \0\0\0\0"].concat()
        };
        let both = [(b"EXIF", &b"x"[..]), (b"XMP ", b"")];
        assert_eq!(chunks(&file(22)), Ok(both.to_vec()));
        assert_eq!(chunks(&file(u32::MAX)), Ok(both.to_vec()));
        assert_eq!(chunks(&file(14)), Ok(both[..1].to_vec()));
        assert_eq!(chunks(&file(0)), Ok(Vec::new()));
        assert_eq!(within(&file(0)), b"RIFF\0\0\0\0");
    }

    #[test]
    fn a_frame_holds_what_is_within_it_and_no_more() {
        let animation = |inner: u32| {
            let mut frame = vec![0; 16];
            frame.extend([&b"VP8 "[..], &inner.to_le_bytes(), b"picture."].concat());
            let chunk = [&b"ANMF"[..], &32_u32.to_le_bytes(), &frame].concat();
            let riff = [&b"RIFF"[..], &60_u32.to_le_bytes(), b"WEBP"].concat();
            [&riff[..], &chunk, b"EXIF\x08\0\0\0upright."].concat()
        };
        let file = animation(8);
        let names: Vec<&[u8; 4]> = chunks(&file).unwrap().iter().map(|c| c.0).collect();
        assert_eq!(names, [b"ANMF", b"VP8 ", b"EXIF"]);
        assert_eq!(chunks(&animation(24)), Err(truncated()));
    }
}
