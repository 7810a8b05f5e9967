//! Makes one call of gRPC's own interoperability tests, and prints what it saw.

use std::env;
use std::error::Error;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding::Gzip;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::{AsciiMetadataValue, MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use proto::chat_client::ChatClient;
use proto::{ConnectRequest, ConnectResponse, PublishRequest, PublishResponse, SubscribeRequest};

mod proto {
    tonic::include_proto!("bcast_grpc.v1");
}

/// Bytes that a message may have.
const LARGEST: usize = 65_536;
const ALL: usize = usize::MAX;

struct Caller {
    channel: Channel,
    chat: ChatClient<Channel>,
    metadata: MetadataMap,
    timeout: Option<Duration>,
    /// Of the events, in order.
    ids: Vec<String>,
    /// Of the data in them, in bytes.
    size: usize,
}

impl Caller {
    async fn run(&mut self, case: &str) -> Result<(), Status> {
        match case {
            "empty_unary" => self.publish(PublishRequest::default()).await,
            "large_unary" => self.publish(PublishRequest { data: vec![0; LARGEST], ..Default::default() }).await,
            "client_compressed_unary" => {
                self.chat = self.chat.clone().send_compressed(Gzip);
                self.publish(PublishRequest { msg: "hola ".repeat(1000), ..Default::default() }).await
            }
            "server_streaming" => {
                self.metadata.insert("bcast-history", AsciiMetadataValue::from_static("20"));
                let request = self.request(SubscribeRequest {});
                let mut events = self.chat.subscribe(request).await?.into_inner();
                self.read(&mut events, 20).await?;
                Err(cancelled(events))
            }
            "empty_stream" => self.talk(vec![]).await,
            "half_duplex" => self.talk(messages(10, 1)).await,
            "client_compressed_streaming" => {
                self.chat = self.chat.clone().send_compressed(Gzip);
                self.talk(messages(10, 10_000)).await
            }
            "large_frame" => self.talk(in_one_frame(messages(60, LARGEST))).await,
            "too_large_frame" => self.talk(in_one_frame(messages(80, LARGEST))).await,
            "ping_pong" => self.ping_pong().await,
            "many_streams" => self.many_streams().await,
            "cancel_after_begin" => {
                let (_requests, outgoing) = mpsc::channel(1);
                let request = self.request(ReceiverStream::new(outgoing));
                let _ = timeout(Duration::ZERO, self.chat.connect(request)).await;
                Err(Status::cancelled("we did"))
            }
            "cancel_after_first_response" => {
                let (requests, mut events) = self.connect().await?;
                let who = ConnectRequest { operacion: "who".into(), id: "1".into(), ..Default::default() };
                let _ = requests.send(who).await;
                self.read(&mut events, 1).await?;
                Err(cancelled(events))
            }
            "timeout_on_sleeping_server" => {
                self.timeout = Some(Duration::from_secs(1));
                let (_requests, mut events) = self.connect().await?;
                self.read(&mut events, ALL).await
            }
            "special_status_message" => {
                let odd = format!("100% \"\\~{}", "x".repeat(100));
                self.metadata.insert("bcast-after", odd.parse().expect("it is ASCII"));
                self.talk(vec![]).await
            }
            "unimplemented_method" => self.call_unknown("/bcast_grpc.v1.Chat/Dance").await,
            "unimplemented_service" => self.call_unknown("/bcast_grpc.v2.Chat/Publish").await,
            _ => panic!("no such case: {case}"),
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        request
    }

    async fn publish(&mut self, message: PublishRequest) -> Result<(), Status> {
        let request = self.request(message);
        self.chat.publish(request).await.map(|_| ())
    }

    async fn connect(&mut self) -> Result<(mpsc::Sender<ConnectRequest>, Streaming<ConnectResponse>), Status> {
        let (requests, outgoing) = mpsc::channel(100);
        let request = self.request(ReceiverStream::new(outgoing));
        Ok((requests, self.chat.connect(request).await?.into_inner()))
    }

    /// Sends all, ends this side, and reads to the end.
    async fn talk(&mut self, frames: Vec<ConnectRequest>) -> Result<(), Status> {
        let request = self.request(tokio_stream::iter(frames));
        let mut events = self.chat.connect(request).await?.into_inner();
        self.read(&mut events, ALL).await
    }

    async fn ping_pong(&mut self) -> Result<(), Status> {
        let (requests, mut events) = self.connect().await?;
        for message in messages(10, LARGEST) {
            let _ = requests.send(message).await; // where it fails, reading says why
            self.read(&mut events, 1).await?;
        }
        drop(requests);
        self.read(&mut events, ALL).await
    }

    /// A hundred on one connection: each speaks in turn, and hears the others.
    async fn many_streams(&mut self) -> Result<(), Status> {
        self.metadata.insert("bcast-events", AsciiMetadataValue::from_static("none"));
        let mut streams = vec![];
        for _ in 0..100 {
            let (requests, mut events) = self.connect().await?;
            let who = ConnectRequest { operacion: "who".into(), id: "0".into(), ..Default::default() };
            let _ = requests.send(who).await;
            self.read(&mut events, 1).await?;
            streams.push((requests, events));
        }
        for (i, message) in messages(100, 1).into_iter().enumerate() {
            let (requests, events) = &mut streams[i];
            let _ = requests.send(message).await;
            self.read(events, i + 1).await?;
        }
        for (requests, mut events) in streams {
            drop(requests);
            self.read(&mut events, ALL).await?;
        }
        Ok(())
    }

    async fn call_unknown(&mut self, path: &'static str) -> Result<(), Status> {
        let mut grpc = Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<PublishRequest, PublishResponse>::default();
        let request = Request::new(PublishRequest::default());
        grpc.unary(request, PathAndQuery::from_static(path), codec).await.map(|_| ())
    }

    async fn read(&mut self, events: &mut Streaming<ConnectResponse>, count: usize) -> Result<(), Status> {
        for _ in 0..count {
            let Some(event) = events.message().await? else { break };
            self.ids.push(event.id);
            self.size += event.data.len();
        }
        Ok(())
    }
}

/// To drop the stream is to cancel the call, and nobody is there any more to see a status.
fn cancelled(events: Streaming<ConnectResponse>) -> Status {
    drop(events);
    Status::cancelled("we did")
}

fn in_one_frame(batch: Vec<ConnectRequest>) -> Vec<ConnectRequest> {
    vec![ConnectRequest { batch, ..Default::default() }]
}

/// Messages of some bytes, numbered from 1.
fn messages(count: usize, size: usize) -> Vec<ConnectRequest> {
    let message = |n: usize| ConnectRequest { id: n.to_string(), data: vec![0; size], ..Default::default() };
    (1..=count).map(message).collect()
}

#[tokio::main(worker_threads = 1)]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [case, target, room] = &arguments[..] else { return Err("usage: cases CASE TARGET ROOM".into()) };
    let channel = Endpoint::from_shared(format!("http://{target}"))?.connect_lazy();
    let mut metadata = MetadataMap::new();
    metadata.insert("bcast-name", "caller".parse()?);
    metadata.insert("bcast-room", room.parse()?);
    metadata.insert_bin("x-binary-bin", MetadataValue::from_bytes(b"\0\xff"));
    let chat = ChatClient::new(channel.clone());
    let mut caller = Caller { channel, chat, metadata, timeout: None, ids: vec![], size: 0 };
    let status = caller.run(case).await.err().unwrap_or_else(|| Status::new(Code::Ok, ""));
    let Caller { ids, size, .. } = caller;
    println!("{}", json!({"code": status.code() as i32, "message": status.message(), "ids": ids, "size": size}));
    Ok(())
}
