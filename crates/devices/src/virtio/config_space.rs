//! The configuration of a device, as its driver reads it.

/// Reads from `offset` of `space` on; what is past its end is zero.
pub(crate) fn read(space: &[u8], offset: u64, data: &mut [u8]) {
    data.fill(0);
    let from = usize::try_from(offset).unwrap_or(usize::MAX);
    let there = space.get(from..).unwrap_or_default();
    let len = there.len().min(data.len());
    data[..len].copy_from_slice(&there[..len]);
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn what_is_there_and_zeroes() {
        let check = |offset, expect: &[u8]| {
            let mut data = vec![0xff; expect.len()];
            read(&[1, 2, 3, 4], offset, &mut data);
            assert_eq!(data, expect, "at {offset}");
        };
        check(0, &[1, 2, 3, 4]);
        check(1, &[2, 3]);
        check(2, &[3, 4, 0, 0]);
        check(4, &[0]);
        check(u64::MAX, &[0, 0]);
        check(0, &[]);
    }
}
