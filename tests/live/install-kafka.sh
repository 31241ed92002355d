#!/usr/bin/env bash
# Fetches Apache Kafka from Maven Central into the cache, once. Needs Java 17 and Maven. Prints the folder of its jars.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=${WSP_LIVE_KAFKA_VERSION:-3.9.1}
cache=${WSP_LIVE_CACHE:-$(cd "$(dirname "$0")/../.." && pwd)/target/live}/kafka-$version
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

# Two tests may ask at once.
exec 9>"$cache/lock"
flock 9

if [ ! -e "$cache/complete" ]; then
  cat >"$cache/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>live</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>$version</version>
    </dependency>
  </dependencies>
</project>
POM
  mvn --batch-mode --quiet --no-transfer-progress --file "$cache/pom.xml" \
    dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$cache/lib" >&2
  touch "$cache/complete"
fi
printf '%s\n' "$cache/lib"
