//! What needs no world: how long the checks of a run may take after a stop.

use std::time::Duration;

use wsp::clock::SystemClock;

use super::*;
use crate::ig::memory::MemoryGate;
use crate::producer::Caps;

#[tokio::test(start_paused = true)]
async fn a_stop_gives_up_checks_that_take_longer_than_the_drain() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().display();
    let profile = format!(
        "profile_id: local_test
policy: {{stream_speedup: 0, traffic_output_ids: [s3_event_stream_with_fraud_6B]}}
wiring:
  object_store: {{root: '{at}/store'}}
  control_bus: {{kind: file, root: '{at}/bus'}}
  engine_catalogue_path: engine_outputs.catalogue.yaml
  ig_ingest_url: http://127.0.0.1:1
  wsp_checkpoint: {{backend: file, root: '{at}/checkpoints'}}
  wsp_producer: {{producer_id: 'svc:test', allowlist_ref: producers.txt}}
  security: {{wsp_auth_token: test-key}}
"
    );
    let profile = Profile::parse(&profile, folder.path(), &|_| None).unwrap();
    let settings = Settings::new(&profile, Caps::default());
    let (clock, stop) = (SystemClock::new(), Stop::new());
    let service = Service::new(profile, settings, MemoryGate::new(clock), clock, stop.clone()).unwrap();
    stop.request();
    let given_up = service.unless_stopped(std::future::pending::<()>()).await.unwrap_err();
    assert_eq!((given_up.reason, clock.now()), (Reason::RunStopped, Duration::from_secs(20)), "{given_up}");
    assert_eq!(service.unless_stopped(std::future::ready(7)).await, Ok(7));
}
