import java.net.URI;
import java.net.URLDecoder;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Base64;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import javax.security.auth.callback.Callback;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerToken;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallback;

/** Checks a login as MSK's IAM does: the token is a signed URL; its form, its age and its signature have to be right. */
public class MskLogin implements AuthenticateCallbackHandler {
    private static final String ID = "wsp-live";
    private static final String KEY = "wsp-live-secret";
    private static final String REGION = "eu-west-2";
    private static final DateTimeFormatter TIME =
            DateTimeFormatter.ofPattern("yyyyMMdd'T'HHmmss'Z'").withZone(ZoneOffset.UTC);

    @Override
    public void configure(Map<String, ?> configs, String mechanism, List<AppConfigurationEntry> jaas) {}

    @Override
    public void close() {}

    @Override
    public void handle(Callback[] callbacks) {
        for (Callback callback : callbacks) {
            if (callback instanceof OAuthBearerValidatorCallback validator) {
                try {
                    validator.token(check(validator.tokenValue()));
                } catch (Exception refused) {
                    validator.error("invalid_token: " + refused.getMessage(), null, null);
                }
            }
        }
    }

    private static OAuthBearerToken check(String token) throws Exception {
        require(!token.matches(".*[=+/\\s].*"), "it is not base64url without padding");
        String url = new String(Base64.getUrlDecoder().decode(token), StandardCharsets.UTF_8);
        URI uri = URI.create(url);
        String host = "kafka." + REGION + ".amazonaws.com";
        require("https".equals(uri.getScheme()) && host.equals(uri.getHost()) && "/".equals(uri.getPath()), "place " + url);
        TreeMap<String, String> query = new TreeMap<>();
        for (String pair : uri.getRawQuery().split("&")) {
            String[] parts = pair.split("=", 2);
            require(query.put(parts[0], URLDecoder.decode(parts[1], StandardCharsets.UTF_8)) == null, "twice " + parts[0]);
        }
        require(query.remove("User-Agent") != null, "no User-Agent");
        String signature = query.remove("X-Amz-Signature");
        Set<String> expected = Set.of("Action", "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires",
                "X-Amz-SignedHeaders", "X-Amz-Security-Token");
        require(expected.equals(query.keySet()), "parameters " + query.keySet());
        require("kafka-cluster:Connect".equals(query.get("Action")), "action");
        require("AWS4-HMAC-SHA256".equals(query.get("X-Amz-Algorithm")), "algorithm");
        require("host".equals(query.get("X-Amz-SignedHeaders")), "headers");
        String time = query.get("X-Amz-Date");
        String scope = time.substring(0, 8) + "/" + REGION + "/kafka-cluster/aws4_request";
        require((ID + "/" + scope).equals(query.get("X-Amz-Credential")), "credential " + query.get("X-Amz-Credential"));
        long began = Instant.from(TIME.parse(time)).toEpochMilli();
        long seconds = Long.parseLong(query.get("X-Amz-Expires"));
        long ends = began + 1000 * seconds;
        long now = System.currentTimeMillis();
        require(seconds <= 900 && began <= now + 1000 && now < ends, "time " + time + " for " + seconds + " s");
        StringBuilder canonical = new StringBuilder();
        query.forEach((name, value) -> canonical.append(canonical.isEmpty() ? "" : "&").append(name).append('=').append(encode(value)));
        String request = "GET\n/\n" + canonical + "\nhost:" + host + "\n\nhost\n" + sha256("");
        String text = "AWS4-HMAC-SHA256\n" + time + "\n" + scope + "\n" + sha256(request);
        byte[] key = ("AWS4" + KEY).getBytes(StandardCharsets.UTF_8);
        for (String part : scope.split("/")) {
            key = hmac(key, part);
        }
        require(HexFormat.of().formatHex(hmac(key, text)).equals(signature), "signature");
        Files.writeString(Path.of("tokens"), signature + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        return new OAuthBearerToken() {
            public String value() { return token; }
            public Set<String> scope() { return Set.of(); }
            public long lifetimeMs() { return ends; }
            public String principalName() { return ID; }
            public Long startTimeMs() { return began; }
        };
    }

    private static void require(boolean holds, String what) {
        if (!holds) {
            throw new IllegalArgumentException(what);
        }
    }

    private static String encode(String value) {
        return URLEncoder.encode(value, StandardCharsets.UTF_8).replace("+", "%20").replace("*", "%2A").replace("%7E", "~");
    }

    private static String sha256(String text) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8)));
    }

    private static byte[] hmac(byte[] key, String text) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        return mac.doFinal(text.getBytes(StandardCharsets.UTF_8));
    }
}
