//! Changes of lines and fields.

use super::bytes;
use crate::rng::Rng;

pub const TOKENS: &[&[u8]] = &[
    b",",
    b";",
    b"\t",
    b"\"",
    b"\"\"",
    b"\n",
    b"\r\n",
    b"\r",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\0",
    b"path,label\n",
    b"path",
    b"label",
    b"split",
    b"train",
    b"validation",
    b"test",
    b"x.parquet#image[0]",
    b"x.parquet#image[9999999999999999999999]",
    b"x.parquet#",
    b"#[",
    b"..",
    b"/",
    b"file_name",
    b"cat.png",
    b"1e999",
    b"\xe2\x80\xae",
];

pub fn change(file: &[u8], other: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let split = |text: &[u8], at: u8| -> Vec<Vec<u8>> {
        text.split(|&byte| byte == at).map(<[u8]>::to_vec).collect()
    };
    let (mut lines, others) = (split(file, b'\n'), split(other, b'\n'));
    let at = rng.below(lines.len());
    match rng.below(3) {
        0 => bytes::change_list(&mut lines, &others, rng),
        _ => {
            let mut fields = split(&lines[at], b',');
            let field = rng.below(fields.len());
            match rng.below(3) {
                0 => {
                    bytes::change_list(&mut fields, &split(rng.pick::<Vec<u8>>(&others), b','), rng)
                }
                1 => fields[field] = rng.pick(TOKENS).to_vec(),
                _ => bytes::change(&mut fields[field], &[], TOKENS, rng),
            }
            lines[at] = fields.join(&b',');
        }
    }
    Some(lines.join(&b'\n'))
}
