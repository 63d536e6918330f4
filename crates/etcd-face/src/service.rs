//! From an HTTP request to the method that it calls, and back: one row per method.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use etcd_wire::paths;
use futures_util::Stream;
use http_body_util::BodyExt;
use prost::Message;
use serve::{Body, BoxError, Handler, Peer};
use tonic::server::{Grpc, ServerStreamingService, StreamingService, UnaryService};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use world::BoxFuture;

use crate::{Face, kv, lease, maintenance, watch};

/// What a method of streams answers.
pub(crate) struct Answers<B>(Pin<Box<dyn Stream<Item = Result<B, Status>> + Send>>);

impl<B> Answers<B> {
    pub fn new(stream: impl Stream<Item = Result<B, Status>> + Send + 'static) -> Answers<B> {
        Answers(Box::pin(stream))
    }
}

impl<B> Stream for Answers<B> {
    type Item = Result<B, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

type HttpRequest = http::Request<Body>;
type HttpResponse = http::Response<tonic::body::Body>;

pub(crate) struct Service(pub Arc<Face>);

impl Handler for Service {
    fn handle(&self, _: &Arc<Peer>, request: HttpRequest) -> BoxFuture<'static, http::Response<Body>> {
        let face = self.0.clone();
        Box::pin(async move {
            let response = answer(face, request).await;
            response.map(|body| body.map_err(|status| Box::new(status) as BoxError).boxed_unsync())
        })
    }
}

async fn answer(face: Arc<Face>, request: HttpRequest) -> HttpResponse {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        paths::ALARM => unary(face, request, maintenance::alarm).await,
        paths::AUTHENTICATE => unary(face, request, maintenance::authenticate).await,
        paths::AUTH_STATUS => unary(face, request, maintenance::auth_status).await,
        paths::COMPACT => unary(face, request, kv::compact).await,
        paths::DELETE_RANGE => unary(face, request, kv::delete_range).await,
        paths::HASH_KV => unary(face, request, maintenance::hash_kv).await,
        paths::LEASE_GRANT => unary(face, request, lease::grant).await,
        paths::LEASE_KEEP_ALIVE => streaming(face, request, lease::keep_alive).await,
        paths::LEASE_LEASES => unary(face, request, lease::leases).await,
        paths::LEASE_REVOKE => unary(face, request, lease::revoke).await,
        paths::LEASE_TIME_TO_LIVE => unary(face, request, lease::time_to_live).await,
        paths::MEMBER_LIST => unary(face, request, maintenance::member_list).await,
        paths::PUT => unary(face, request, kv::put).await,
        paths::RANGE => unary(face, request, kv::range).await,
        paths::SNAPSHOT => server_streaming(face, request, maintenance::snapshot).await,
        paths::STATUS => unary(face, request, maintenance::status).await,
        paths::TXN => unary(face, request, kv::txn).await,
        paths::WATCH => streaming(face, request, watch::watch).await,
        other => Status::unimplemented(format!("Minato does not support {other}")).into_http(),
    }
}

/// A method as tonic calls it.
struct Method<F> {
    face: Arc<Face>,
    call: F,
}

type Outcome<B> = BoxFuture<'static, Result<tonic::Response<B>, Status>>;

impl<A, B, F, R> UnaryService<A> for Method<F>
where
    A: Send + 'static,
    F: Fn(Arc<Face>, A) -> R,
    R: Future<Output = Result<B, Status>> + Send + 'static,
{
    type Response = B;
    type Future = Outcome<B>;

    fn call(&mut self, request: tonic::Request<A>) -> Outcome<B> {
        let answer = (self.call)(self.face.clone(), request.into_inner());
        Box::pin(async move { Ok(tonic::Response::new(answer.await?)) })
    }
}

impl<A, B, F> ServerStreamingService<A> for Method<F>
where
    F: Fn(Arc<Face>, A) -> Answers<B>,
{
    type Response = B;
    type ResponseStream = Answers<B>;
    type Future = std::future::Ready<Result<tonic::Response<Answers<B>>, Status>>;

    fn call(&mut self, request: tonic::Request<A>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new((self.call)(self.face.clone(), request.into_inner()))))
    }
}

impl<A, B, F> StreamingService<A> for Method<F>
where
    F: Fn(Arc<Face>, Streaming<A>) -> Answers<B>,
{
    type Response = B;
    type ResponseStream = Answers<B>;
    type Future = std::future::Ready<Result<tonic::Response<Answers<B>>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<A>>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new((self.call)(self.face.clone(), request.into_inner()))))
    }
}

fn grpc<A, B>(face: &Face) -> Grpc<ProstCodec<B, A>>
where
    A: Message + Default + 'static,
    B: Message + 'static,
{
    // What is answered is as large as what is stored; only what is asked has a limit.
    Grpc::new(ProstCodec::default()).max_decoding_message_size(face.message_bytes).max_encoding_message_size(usize::MAX)
}

async fn unary<A, B, F, R>(face: Arc<Face>, request: HttpRequest, call: F) -> HttpResponse
where
    A: Message + Default + 'static,
    B: Message + 'static,
    F: Fn(Arc<Face>, A) -> R,
    R: Future<Output = Result<B, Status>> + Send + 'static,
{
    grpc(&face).unary(Method { face, call }, request).await
}

fn server_streaming<A, B>(
    face: Arc<Face>,
    request: HttpRequest,
    call: fn(Arc<Face>, A) -> Answers<B>,
) -> BoxFuture<'static, HttpResponse>
where
    A: Message + Default + 'static,
    B: Message + 'static,
{
    Box::pin(async move { grpc(&face).server_streaming(Method { face, call }, request).await })
}

fn streaming<A, B>(
    face: Arc<Face>,
    request: HttpRequest,
    call: fn(Arc<Face>, Streaming<A>) -> Answers<B>,
) -> BoxFuture<'static, HttpResponse>
where
    A: Message + Default + 'static,
    B: Message + 'static,
{
    Box::pin(async move { grpc(&face).streaming(Method { face, call }, request).await })
}
