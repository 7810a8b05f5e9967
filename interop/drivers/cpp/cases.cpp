// Makes one call of gRPC's own interoperability tests, and prints what it saw.
#include <bcast_grpc/v1/chat.grpc.pb.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace v1 = bcast_grpc::v1;
using namespace std::chrono_literals;
using grpc::Status;
using Requests = std::vector<v1::ConnectRequest>;

constexpr size_t kLargest = 65'536;  // bytes that a message may have

// Messages of some bytes, numbered from 1.
Requests Messages(int count, size_t size) {
  Requests messages(count);
  for (int i = 0; i < count; ++i) {
    messages[i].set_id(std::to_string(i + 1));
    messages[i].set_data(std::string(size, '\0'));
  }
  return messages;
}

v1::ConnectRequest Who(const std::string& id) {
  v1::ConnectRequest request;
  request.set_operacion("who");
  request.set_id(id);
  return request;
}

Requests InOneFrame(const Requests& requests) {
  v1::ConnectRequest frame;
  for (const auto& request : requests) *frame.add_batch() = request;
  return {frame};
}

class Caller {
 public:
  Caller(const std::string& target, const std::string& room) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    channel_ = grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
    stub_ = v1::Chat::NewStub(channel_);
    room_ = room;
    Prepare(context_);
  }

  Status Publish(const std::string& text, const std::string& data) {
    v1::PublishRequest request;
    request.set_msg(text);
    request.set_data(data);
    v1::PublishResponse response;
    return stub_->Publish(&context_, request, &response);
  }

  Status PublishCompressed() {
    context_.set_compression_algorithm(GRPC_COMPRESS_GZIP);
    std::string text;
    for (int i = 0; i < 1000; ++i) text += "hola ";
    return Publish(text, "");
  }

  Status Subscribe() {
    context_.AddMetadata("bcast-history", "20");
    const auto stream = stub_->Subscribe(&context_, {});
    Read(*stream, 20);
    context_.TryCancel();
    return stream->Finish();
  }

  // Sends all, ends its side, and reads to the end.
  Status Talk(const Requests& frames) {
    const auto stream = stub_->Connect(&context_);
    for (const auto& frame : frames) stream->Write(frame);
    stream->WritesDone();
    return ReadAll(*stream);
  }

  Status TalkCompressed(const Requests& frames) {
    context_.set_compression_algorithm(GRPC_COMPRESS_GZIP);
    return Talk(frames);
  }

  Status PingPong() {
    const auto stream = stub_->Connect(&context_);
    for (const auto& message : Messages(10, kLargest)) {
      stream->Write(message);
      Read(*stream, 1);
    }
    stream->WritesDone();
    return ReadAll(*stream);
  }

  // A hundred on one connection: each speaks in turn, and hears the others.
  Status ManyStreams() {
    std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
    std::vector<std::unique_ptr<Stream>> streams;
    const auto messages = Messages(100, 1);
    for (size_t i = 0; i < messages.size(); ++i) {
      contexts.push_back(std::make_unique<grpc::ClientContext>());
      Prepare(*contexts[i]);
      contexts[i]->AddMetadata("bcast-events", "none");
      streams.push_back(stub_->Connect(contexts[i].get()));
      streams[i]->Write(Who("0"));
      Read(*streams[i], 1);
    }
    for (size_t i = 0; i < messages.size(); ++i) {
      streams[i]->Write(messages[i]);
      Read(*streams[i], static_cast<int>(i) + 1);
    }
    Status status;
    for (const auto& stream : streams) {
      stream->WritesDone();
      if (status.ok()) status = ReadAll(*stream);
    }
    return status;
  }

  Status CancelAfterBegin() {
    const auto stream = stub_->Connect(&context_);
    context_.TryCancel();
    return ReadAll(*stream);
  }

  Status CancelAfterFirstResponse() {
    const auto stream = stub_->Connect(&context_);
    stream->Write(Who("1"));
    Read(*stream, 1);
    context_.TryCancel();
    return ReadAll(*stream);
  }

  Status TimeOut() {
    context_.set_deadline(std::chrono::system_clock::now() + 1s);
    return ReadAll(*stub_->Connect(&context_));
  }

  Status SendOddMetadata() {
    context_.AddMetadata("bcast-after", R"(100% "\~)" + std::string(100, 'x'));
    return Talk({});
  }

  Status CallUnknown(const std::string& path) {
    grpc::TemplatedGenericStub<v1::PublishRequest, v1::PublishResponse> stub(channel_);
    grpc::CompletionQueue queue;
    const auto call = stub.PrepareUnaryCall(&context_, path, {}, &queue);
    v1::PublishResponse response;
    Status status;
    call->StartCall();
    call->Finish(&response, &status, this);
    void* tag;
    bool ok;
    queue.Next(&tag, &ok);
    return status;
  }

  void Print(const Status& status) const {
    google::protobuf::Struct seen;
    auto& fields = *seen.mutable_fields();
    fields["code"].set_number_value(status.error_code());
    fields["message"].set_string_value(status.error_message());
    fields["size"].set_number_value(static_cast<double>(size_));
    auto& ids = *fields["ids"].mutable_list_value();
    for (const auto& id : ids_) ids.add_values()->set_string_value(id);
    std::string line;
    if (const auto done = google::protobuf::util::MessageToJsonString(seen, &line); !done.ok()) {
      line = done.ToString();
    }
    std::cout << line << "\n";
  }

 private:
  using Stream = grpc::ClientReaderWriter<v1::ConnectRequest, v1::ConnectResponse>;

  void Prepare(grpc::ClientContext& context) const {
    context.AddMetadata("bcast-name", "caller");
    context.AddMetadata("bcast-room", room_);
    context.AddMetadata("x-binary-bin", std::string("\0\xff", 2));
  }

  template <class Stream>
  void Read(Stream& stream, int count) {
    v1::ConnectResponse event;
    for (; count != 0 && stream.Read(&event); --count) {
      ids_.push_back(event.id());
      size_ += event.data().size();
    }
  }

  template <class Stream>
  Status ReadAll(Stream& stream) {
    Read(stream, -1);
    return stream.Finish();
  }

  std::string room_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Chat::Stub> stub_;
  grpc::ClientContext context_;
  std::vector<std::string> ids_;  // of the events, in order
  size_t size_ = 0;               // of the data in them, in bytes
};

const std::map<std::string, std::function<Status(Caller&)>> kCases = {
    {"empty_unary", [](Caller& caller) { return caller.Publish("", ""); }},
    {"large_unary", [](Caller& caller) { return caller.Publish("", std::string(kLargest, '\0')); }},
    {"client_compressed_unary", &Caller::PublishCompressed},
    {"server_streaming", &Caller::Subscribe},
    {"empty_stream", [](Caller& caller) { return caller.Talk({}); }},
    {"half_duplex", [](Caller& caller) { return caller.Talk(Messages(10, 1)); }},
    {"client_compressed_streaming", [](Caller& caller) { return caller.TalkCompressed(Messages(10, 10'000)); }},
    {"large_frame", [](Caller& caller) { return caller.Talk(InOneFrame(Messages(60, kLargest))); }},
    {"too_large_frame", [](Caller& caller) { return caller.Talk(InOneFrame(Messages(80, kLargest))); }},
    {"ping_pong", &Caller::PingPong},
    {"many_streams", &Caller::ManyStreams},
    {"cancel_after_begin", &Caller::CancelAfterBegin},
    {"cancel_after_first_response", &Caller::CancelAfterFirstResponse},
    {"timeout_on_sleeping_server", &Caller::TimeOut},
    {"special_status_message", &Caller::SendOddMetadata},
    {"unimplemented_method", [](Caller& caller) { return caller.CallUnknown("/bcast_grpc.v1.Chat/Dance"); }},
    {"unimplemented_service", [](Caller& caller) { return caller.CallUnknown("/bcast_grpc.v2.Chat/Publish"); }},
};

int main(int argc, char** argv) {
  const auto found = argc == 4 ? kCases.find(argv[1]) : kCases.end();
  if (found == kCases.end()) {
    std::cerr << "usage: cases CASE TARGET ROOM\n";
    return 2;
  }
  Caller caller(argv[2], argv[3]);
  caller.Print(found->second(caller));
}
