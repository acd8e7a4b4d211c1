//! Numbers that follow each other, as the rows of blocks and completions keep them: from the first to the last, both
//! included.

/// The part of sorted numbers that lies in a range.
pub(super) fn within(numbers: &[i64], (lo, hi): (i64, i64)) -> &[i64] {
    let from = numbers.partition_point(|number| *number < lo);
    let to = numbers.partition_point(|number| *number <= hi);
    &numbers[from..to]
}

/// What is left of a range without some of its numbers, which are sorted.
pub(super) fn without((lo, hi): (i64, i64), gone: &[i64]) -> Vec<(i64, i64)> {
    let mut left = Vec::new();
    let mut from = lo;
    for number in gone {
        if from < *number {
            left.push((from, number - 1));
        }
        from = number + 1;
    }
    if from <= hi {
        left.push((from, hi));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_loses_numbers_anywhere() {
        assert_eq!(without((1, 9), &[]), [(1, 9)]);
        assert_eq!(without((1, 9), &[1, 2]), [(3, 9)]);
        assert_eq!(without((1, 9), &[9]), [(1, 8)]);
        assert_eq!(without((1, 9), &[3, 5, 6]), [(1, 2), (4, 4), (7, 9)]);
        assert_eq!(without((1, 2), &[1, 2]), []);
    }

    #[test]
    fn the_ends_of_a_range_are_in_it() {
        let numbers = [1, 4, 5, 9];
        assert_eq!(within(&numbers, (4, 9)), [4, 5, 9]);
        assert!(within(&numbers, (2, 3)).is_empty());
        assert_eq!(within(&numbers, (0, 1)), [1]);
    }
}
