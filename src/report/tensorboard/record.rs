//! The framing of TensorFlow's record files: length, checksum of the length, bytes, checksum of the
//! bytes, all little-endian.

/// Appends `bytes` as one record.
pub fn append(file: &mut Vec<u8>, bytes: &[u8]) {
    let length = (bytes.len() as u64).to_le_bytes();
    file.extend(length);
    file.extend(masked(crc32c(&length)).to_le_bytes());
    file.extend(bytes);
    file.extend(masked(crc32c(bytes)).to_le_bytes());
}

/// A checksum turned about and shifted, so that the checksum of bytes which hold one is no trap.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), RFC 3720 appendix B.4.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
    })
}

/// Remainders of all bytes; the polynomial's bits are in reverse order.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc & 1;
            crc = (crc >> 1) ^ (0x82f6_3b78 * carry);
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 3720, and the check value of the CRC catalogue.
    #[test]
    fn crc32c_has_its_published_values() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46dd_794e);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn a_record_is_framed() {
        let mut file = Vec::new();
        append(&mut file, b"abc");
        assert_eq!(file.len(), 8 + 4 + 3 + 4);
        assert_eq!(file[..8], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(file[12..15], *b"abc");
        // crc32c("abc") = 0x364b3fb7, published with many implementations.
        assert_eq!(crc32c(b"abc"), 0x364b_3fb7);
        // Turned right by 15 bits, plus 0xa282ead8.
        assert_eq!(file[15..], 0x21f1_576e_u32.to_le_bytes());
    }
}
