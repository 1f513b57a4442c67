# Dependencies are compiled in a layer of their own (cargo-chef): a change of the sources compiles only the sources.
FROM lukemathwalker/cargo-chef:latest-rust-1.95-trixie AS chef
WORKDIR /app

FROM chef AS planner
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

FROM chef AS builder
ARG PROGRAM=tickets
# Cargo's: `dev` builds soonest, for trying things (skaffold dev).
ARG PROFILE=release
COPY --from=planner /app/recipe.json recipe.json
RUN cargo chef cook --profile "$PROFILE" --locked --package "$PROGRAM" --bin "$PROGRAM" --recipe-path recipe.json
COPY . .
RUN cargo build --profile "$PROFILE" --locked --package "$PROGRAM" --bin "$PROGRAM" && mkdir bin && cp target/*/"$PROGRAM" bin/ && ln -s "$PROGRAM" bin/service

# glibc of the same Debian as the builder; no shell, so the health check is the binary itself.
FROM gcr.io/distroless/cc-debian13:nonroot
COPY --from=builder /app/bin/ /usr/local/bin/
# Any other user id will do, such as OpenShift gives: nothing is written, and nobody's home is entered.
USER 65532:65532
WORKDIR /
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["/usr/local/bin/service", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/service"]
