/// Some images and their labels, ready for the model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// (B, 3, H, W), decoded and resized, not yet normalised.
    pub images: Vec<u8>,
    /// (B), class indices.
    pub labels: Vec<u32>,
}

impl Batch {
    /// Images in the batch, B.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}
