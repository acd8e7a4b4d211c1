//! What customers see: orders over HTTP.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use taskwright::Client;
use taskwright::service::{Service, ServiceContext, ServiceError};

use crate::orders::{NewOrder, Shop};

/// How many lines an order may have, and how dear a line may be.
const LINES_MAX: usize = 100;
const LINE_CENTS_MAX: u64 = 10_000_000;

type Answer = Result<(StatusCode, Json<Value>), (StatusCode, String)>;

/// `POST /orders` takes an order, `GET /orders/NUMBER` tells how it goes.
pub fn router(shop: Shop, client: Client) -> Router {
    Router::new()
        .route("/orders", post(place))
        .route("/orders/{number}", get(show))
        .with_state((shop, client))
}

async fn place(State((shop, client)): State<(Shop, Client)>, Json(order): Json<NewOrder>) -> Answer {
    let is_dear = |cents: u64, count: u64| cents.checked_mul(count).is_none_or(|sum| sum > LINE_CENTS_MAX);
    if order.lines.is_empty() || order.lines.len() > LINES_MAX {
        return Err((StatusCode::UNPROCESSABLE_ENTITY, format!("an order has 1 to {LINES_MAX} lines")));
    }
    if order.lines.iter().any(|line| line.count == 0 || is_dear(line.cents, line.count)) {
        return Err((
            StatusCode::UNPROCESSABLE_ENTITY,
            "a line has a count, and costs 100,000 EUR at most".to_owned(),
        ));
    }
    let env = client.env().clone();
    let now = env.now();
    // The transaction waits for the disk: not on a thread that serves others.
    let placed = env.blocking(move || shop.place(&client, now, order)).await.map_err(broken)?;
    Ok((StatusCode::CREATED, Json(json!({"order": placed.number, "job": placed.job}))))
}

async fn show(State((shop, client)): State<(Shop, Client)>, Path(number): Path<i64>) -> Answer {
    let none = || (StatusCode::NOT_FOUND, format!("there is no order {number}"));
    let order = client.env().blocking(move || shop.order(number)).await.map_err(broken)?.ok_or_else(none)?;
    // After 30 days the job is no longer kept: then it was confirmed long ago.
    let job = client.job(order.job).await.map_err(|error| broken(error.into()))?;
    let confirmation = job.map_or("done", |job| job.view.state.as_str());
    Ok((
        StatusCode::OK,
        Json(json!({"order": order, "cents": order.order.cents(), "confirmation": confirmation})),
    ))
}

/// What went wrong is for the log, not for the customer.
fn broken(error: Box<dyn std::error::Error + Send + Sync>) -> (StatusCode, String) {
    eprintln!("the shop: {error}");
    (StatusCode::INTERNAL_SERVER_ERROR, "something went wrong here; please try again".to_owned())
}

/// Serves while the program is up.
pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) address: String,
}

impl Service for Server {
    async fn run(&self, ctx: ServiceContext) -> Result<(), ServiceError> {
        let listener = tokio::net::TcpListener::bind(&self.address).await?;
        let stopped = {
            let ctx = ctx.clone();
            async move { ctx.stopped().await }
        };
        axum::serve(listener, self.router.clone()).with_graceful_shutdown(stopped).await?;
        Ok(())
    }
}
