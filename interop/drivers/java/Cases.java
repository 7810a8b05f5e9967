import static io.grpc.Metadata.ASCII_STRING_MARSHALLER;
import static io.grpc.Metadata.BINARY_BYTE_MARSHALLER;
import static java.nio.charset.StandardCharsets.UTF_8;

import bcast_grpc.v1.ChatGrpc;
import bcast_grpc.v1.ConnectRequest;
import bcast_grpc.v1.ConnectResponse;
import bcast_grpc.v1.PublishRequest;
import bcast_grpc.v1.PublishResponse;
import bcast_grpc.v1.SubscribeRequest;
import com.google.gson.Gson;
import com.google.protobuf.ByteString;
import io.grpc.CallOptions;
import io.grpc.ClientInterceptor;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.ClientCallStreamObserver;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ClientResponseObserver;
import io.grpc.stub.MetadataUtils;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;

/** Makes one call of gRPC's own interoperability tests, and prints what it saw. */
final class Cases {
  private static final int LARGEST = 65_536; // bytes that a message may have

  private final ManagedChannel channel;
  private final Metadata metadata = new Metadata();
  private final List<String> ids = new ArrayList<>(); // of the events, in order
  private int size; // of the data in them, in bytes

  private Cases(String target, String room) {
    channel = NettyChannelBuilder.forTarget(target, InsecureChannelCredentials.create()).build();
    add("bcast-name", "caller");
    add("bcast-room", room);
    metadata.put(Metadata.Key.of("x-binary-bin", BINARY_BYTE_MARSHALLER), new byte[] {0, -1});
  }

  public static void main(String[] arguments) throws InterruptedException {
    if (arguments.length != 3) {
      System.err.println("usage: Cases CASE TARGET ROOM");
      System.exit(2);
    }
    Cases cases = new Cases(arguments[1], arguments[2]);
    Status status = cases.run(arguments[0]);
    String message = Optional.ofNullable(status.getDescription()).orElse("");
    Map<String, Object> seen =
        Map.of("code", status.getCode().value(), "message", message, "ids", cases.ids, "size", cases.size);
    new PrintStream(System.out, true, UTF_8).println(new Gson().toJson(seen));
    System.exit(0);
  }

  private Status run(String name) throws InterruptedException {
    return switch (name) {
      case "empty_unary" -> publish(stub(), "", 0);
      case "large_unary" -> publish(stub(), "", LARGEST);
      case "client_compressed_unary" -> publish(stub().withCompression("gzip"), "hola ".repeat(1000), 0);
      case "server_streaming" -> subscribe();
      case "empty_stream" -> talk(stub(), List.of());
      case "half_duplex" -> talk(stub(), messages(10, 1));
      case "client_compressed_streaming" -> talk(stub().withCompression("gzip"), messages(10, 10_000));
      case "large_frame" -> talk(stub(), inOneFrame(messages(60, LARGEST)));
      case "too_large_frame" -> talk(stub(), inOneFrame(messages(80, LARGEST)));
      case "ping_pong" -> pingPong();
      case "many_streams" -> manyStreams();
      case "cancel_after_begin" -> cancelAfterBegin();
      case "cancel_after_first_response" -> cancelAfterFirstResponse();
      case "timeout_on_sleeping_server" -> timeOut();
      case "special_status_message" -> sendOddMetadata();
      case "unimplemented_method" -> callUnknown("bcast_grpc.v1.Chat/Dance");
      case "unimplemented_service" -> callUnknown("bcast_grpc.v2.Chat/Publish");
      default -> throw new IllegalArgumentException(name);
    };
  }

  private void add(String key, String value) {
    metadata.put(Metadata.Key.of(key, ASCII_STRING_MARSHALLER), value);
  }

  private ChatGrpc.ChatStub stub() {
    return ChatGrpc.newStub(channel).withInterceptors(withMetadata());
  }

  private ClientInterceptor withMetadata() {
    return MetadataUtils.newAttachHeadersInterceptor(metadata);
  }

  private Status publish(ChatGrpc.ChatStub stub, String text, int bytes) throws InterruptedException {
    Answers<PublishRequest, PublishResponse> answers = new Answers<>();
    stub.publish(PublishRequest.newBuilder().setMsg(text).setData(zeros(bytes)).build(), answers);
    answers.take(-1);
    return answers.status;
  }

  private Status subscribe() throws InterruptedException {
    add("bcast-history", "20");
    Answers<SubscribeRequest, ConnectResponse> events = new Answers<>();
    stub().subscribe(SubscribeRequest.getDefaultInstance(), events);
    read(events, 20);
    events.call.cancel("all is read", null);
    return readAll(events);
  }

  /** Sends all, ends this side, and reads to the end. */
  private Status talk(ChatGrpc.ChatStub stub, List<ConnectRequest> frames) throws InterruptedException {
    Answers<ConnectRequest, ConnectResponse> events = new Answers<>();
    stub.connect(events);
    frames.forEach(events.call::onNext);
    events.call.onCompleted();
    return readAll(events);
  }

  private Status pingPong() throws InterruptedException {
    Answers<ConnectRequest, ConnectResponse> events = new Answers<>();
    stub().connect(events);
    for (ConnectRequest message : messages(10, LARGEST)) {
      events.call.onNext(message);
      read(events, 1);
    }
    events.call.onCompleted();
    return readAll(events);
  }

  /** A hundred on one connection: each speaks in turn, and hears the others. */
  private Status manyStreams() throws InterruptedException {
    add("bcast-events", "none");
    List<Answers<ConnectRequest, ConnectResponse>> streams = new ArrayList<>();
    for (int i = 0; i < 100; i++) {
      streams.add(new Answers<>());
      stub().connect(streams.get(i));
      streams.get(i).call.onNext(ConnectRequest.newBuilder().setOperacion("who").setId("0").build());
      read(streams.get(i), 1);
    }
    for (int i = 0; i < 100; i++) {
      streams.get(i).call.onNext(messages(100, 1).get(i));
      read(streams.get(i), i + 1);
    }
    Status status = Status.OK;
    for (Answers<ConnectRequest, ConnectResponse> events : streams) {
      events.call.onCompleted();
      status = status.isOk() ? readAll(events) : status;
    }
    return status;
  }

  private Status cancelAfterBegin() throws InterruptedException {
    Answers<ConnectRequest, ConnectResponse> events = new Answers<>();
    stub().connect(events);
    events.call.cancel("at once", null);
    return readAll(events);
  }

  private Status cancelAfterFirstResponse() throws InterruptedException {
    Answers<ConnectRequest, ConnectResponse> events = new Answers<>();
    stub().connect(events);
    events.call.onNext(ConnectRequest.newBuilder().setOperacion("who").setId("1").build());
    read(events, 1);
    events.call.cancel("in the middle", null);
    return readAll(events);
  }

  private Status timeOut() throws InterruptedException {
    Answers<ConnectRequest, ConnectResponse> events = new Answers<>();
    stub().withDeadlineAfter(1, TimeUnit.SECONDS).connect(events);
    return readAll(events);
  }

  private Status sendOddMetadata() throws InterruptedException {
    add("bcast-after", "100% \"\\~" + "x".repeat(100));
    return talk(stub(), List.of());
  }

  private Status callUnknown(String path) {
    MethodDescriptor<PublishRequest, PublishResponse> method =
        ChatGrpc.getPublishMethod().toBuilder().setFullMethodName(path).build();
    try {
      ClientCalls.blockingUnaryCall(channel, method, CallOptions.DEFAULT, PublishRequest.getDefaultInstance());
      return Status.OK;
    } catch (StatusRuntimeException e) {
      return e.getStatus();
    }
  }

  private Status readAll(Answers<?, ConnectResponse> events) throws InterruptedException {
    read(events, -1);
    return events.status;
  }

  private void read(Answers<?, ConnectResponse> events, int count) throws InterruptedException {
    for (ConnectResponse event : events.take(count)) {
      ids.add(event.getId());
      size += event.getData().size();
    }
  }

  private static List<ConnectRequest> inOneFrame(List<ConnectRequest> requests) {
    return List.of(ConnectRequest.newBuilder().addAllBatch(requests).build());
  }

  /** Messages of some bytes, numbered from 1. */
  private static List<ConnectRequest> messages(int count, int bytes) {
    return IntStream.rangeClosed(1, count)
        .mapToObj(n -> ConnectRequest.newBuilder().setId("" + n).setData(zeros(bytes)).build())
        .toList();
  }

  private static ByteString zeros(int count) {
    return ByteString.copyFrom(new byte[count]);
  }

  /** What comes on a call, in order; an empty one at the end. */
  private static final class Answers<Q, A> implements ClientResponseObserver<Q, A> {
    private final BlockingQueue<Optional<A>> queue = new LinkedBlockingQueue<>();
    ClientCallStreamObserver<Q> call;
    volatile Status status;

    /** Waits for so many, or for all where the count is negative. */
    List<A> take(int count) throws InterruptedException {
      List<A> taken = new ArrayList<>();
      while (taken.size() != count) {
        Optional<A> next = queue.take();
        if (next.isEmpty()) {
          break;
        }
        taken.add(next.get());
      }
      return taken;
    }

    @Override
    public void beforeStart(ClientCallStreamObserver<Q> call) {
      this.call = call;
    }

    @Override
    public void onNext(A answer) {
      queue.add(Optional.of(answer));
    }

    @Override
    public void onError(Throwable error) {
      end(Status.fromThrowable(error));
    }

    @Override
    public void onCompleted() {
      end(Status.OK);
    }

    private void end(Status status) {
      this.status = status;
      queue.add(Optional.empty());
    }
  }
}
