//! The part of the store that shows services.

use taskwright_core::limit::SERVICES_LISTED_MAX;
use taskwright_core::{ProcessId, Timestamp};
use tokio_postgres::types::Type;

use super::super::service::{self, Columns};
use super::super::session::Uuid;
use super::PostgresStore;
use crate::Reply;
use crate::service::{ProcessPlace, ServiceRecord, ServiceStore, ServiceView, arranged, checked};

impl ServiceStore for PostgresStore {
    fn tell_services(
        &self,
        now: Timestamp,
        process: ProcessPlace,
        services: Vec<ServiceRecord>,
    ) -> Reply<'_, ()> {
        Box::pin(async move {
            let (process, services) = checked(process, services)?;
            let columns = Columns::of(now, &process, &services);
            self.once(service::TELL, &columns.parameters()).await?;
            Ok(())
        })
    }

    fn forget_services(&self, process: ProcessId) -> Reply<'_, ()> {
        Box::pin(async move {
            self.once(service::FORGET, &[(&Uuid(*process.as_bytes()), Type::UUID)]).await?;
            Ok(())
        })
    }

    fn services(&self, now: Timestamp) -> Reply<'_, Vec<ServiceView>> {
        Box::pin(async move {
            let most = i64::try_from(SERVICES_LISTED_MAX).unwrap_or(i64::MAX);
            let old = service::old(now);
            let rows = self.look(service::LIST, &[(&old, Type::INT8), (&most, Type::INT8)]).await?;
            let found: Result<Vec<_>, _> = rows.iter().map(|row| service::read_view(row, now)).collect();
            Ok(arranged(found?.into_iter().flatten().collect()))
        })
    }
}
