# The operator's image, for those who build with Docker or Podman. `make image`
# makes the same without either.
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN cargo build --release --locked --no-default-features --target x86_64-unknown-linux-gnu --bin k6-operator
RUN tests/cluster/notices x86_64-unknown-linux-gnu > /THIRD-PARTY

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/x86_64-unknown-linux-gnu/release/k6-operator /k6-operator
COPY --from=build /src/LICENSE /THIRD-PARTY /licenses/
USER 65532
ENTRYPOINT ["/k6-operator"]
