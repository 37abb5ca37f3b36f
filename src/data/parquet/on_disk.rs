//! A file on disk, as the Parquet reader wants to read it.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use crate::{files, memory};

/// A file that is opened anew for each piece that is read.
///
/// So pieces can be read on many threads (one open file has one position), a data set of thousands
/// of files needs no thousands of descriptors, and a file that shrinks while it is in use is an
/// error, where a memory map would end the process.
pub struct OnDisk {
    pub path: PathBuf,
    pub bytes: u64,
}

impl OnDisk {
    fn at(&self, start: u64) -> std::io::Result<File> {
        let mut file = files::open_regular(&self.path)?;
        file.seek(SeekFrom::Start(start))?;
        Ok(file)
    }
}

impl Length for OnDisk {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for OnDisk {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(BufReader::new(self.at(start)?))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.bytes) {
            return Err(ParquetError::EOF(format!(
                "{length} bytes are wanted from byte {start} on, and the file has {}",
                self.bytes
            )));
        }
        let mut bytes = memory::zeroed(length).map_err(std::io::Error::from)?;
        self.at(start)?.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}
