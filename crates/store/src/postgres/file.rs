//! Files that generators remember. Only whoever commits for a generator writes them, and holds its row.

use tokio_postgres::Row;

use super::session::{Session, get};
use crate::error::Error;
use crate::file::{FileMark, FileWrite, KnownFile};
use crate::generator::GeneratorKey;

/// What is remembered of these files, in their order.
pub(super) async fn of(
    session: &mut Session<'_>,
    generator: GeneratorKey,
    paths: &[String],
) -> Result<Vec<Option<KnownFile>>, Error> {
    let rows = session.all(FILES_OF, &[&generator.0, &paths]).await?;
    rows.iter().map(|row| if get::<bool>(row, 0)? { read(row, 1).map(Some) } else { Ok(None) }).collect()
}

/// Remembered files, in the order of their paths.
pub(super) async fn page(
    session: &mut Session<'_>,
    generator: GeneratorKey,
    after: Option<&str>,
    limit: i64,
) -> Result<Vec<(String, KnownFile)>, Error> {
    // No path is empty.
    let rows = session.all(FILES, &[&generator.0, &after.unwrap_or(""), &limit]).await?;
    rows.iter().map(|row| Ok((get(row, 0)?, read(row, 1)?))).collect()
}

fn read(row: &Row, at: usize) -> Result<KnownFile, Error> {
    let size = get::<i64>(row, at)?.unsigned_abs();
    Ok(KnownFile { mark: FileMark { size, modified_ns: get(row, at + 1)? }, open: get(row, at + 2)? })
}

pub(super) async fn write(
    session: &mut Session<'_>,
    generator: GeneratorKey,
    write: &FileWrite,
) -> Result<(), Error> {
    match write {
        FileWrite::Remember(files) => {
            let paths: Vec<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
            // The database's integers are signed; no file is larger.
            let sizes: Vec<i64> =
                files.iter().map(|(_, mark)| i64::try_from(mark.size).unwrap_or(i64::MAX)).collect();
            let times: Vec<i64> = files.iter().map(|(_, mark)| mark.modified_ns).collect();
            session.execute(REMEMBER, &[&generator.0, &paths, &sizes, &times]).await?;
        }
        FileWrite::Close(paths) => {
            session.execute(CLOSE, &[&generator.0, paths]).await?;
        }
        FileWrite::Forget(paths) => {
            session.execute(FORGET, &[&generator.0, paths]).await?;
        }
    }
    Ok(())
}

const FILES_OF: &str = "SELECT f.path IS NOT NULL, f.size, f.modified_ns, f.open
    FROM unnest($2::text[]) WITH ORDINALITY AS g (path, number)
    LEFT JOIN LATERAL (SELECT f.* FROM file f WHERE f.generator = $1 AND f.path = g.path LIMIT 1) f ON true
    ORDER BY g.number";
const FILES: &str = "SELECT path, size, modified_ns, open FROM file
    WHERE generator = $1 AND path > $2 ORDER BY generator, path LIMIT $3";
const REMEMBER: &str = "INSERT INTO file (generator, path, size, modified_ns, open)
    SELECT $1::bigint, g.path, g.size, g.modified_ns, true
    FROM unnest($2::text[], $3::bigint[], $4::bigint[]) AS g (path, size, modified_ns)
    ON CONFLICT (generator, path) DO UPDATE SET size = excluded.size, modified_ns = excluded.modified_ns, open = true";
const CLOSE: &str = "UPDATE file SET open = false WHERE generator = $1 AND path = ANY($2::text[])";
const FORGET: &str = "DELETE FROM file WHERE generator = $1 AND path = ANY($2::text[])";
pub(super) const FORGET_ALL: &str = "DELETE FROM file WHERE generator = $1";
