{{- define "wsp.labels" -}}
app.kubernetes.io/name: wsp
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.mode }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "wsp.selector" -}}
app.kubernetes.io/name: wsp
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "wsp.serviceAccount" -}}
{{- if or .Values.serviceAccount.create .Values.serviceAccount.name -}}
{{ .Values.serviceAccount.name | default .Release.Name }}
{{- else -}}
default
{{- end -}}
{{- end }}

{{- define "wsp.image" -}}
{{- $digest := required "image.digest: set it to sha256:<64 hex digits>" .Values.image.digest -}}
{{- if regexMatch "^sha256:0+$" $digest }}{{ fail "image.digest names no image: it is all zeros" }}{{ end -}}
{{ required "image.repository: set it to the image without tag or digest" .Values.image.repository }}@{{ $digest }}
{{- end }}

{{- define "wsp.profilePath" -}}
{{- if .Values.profile.text }}/etc/wsp/release/profile.yaml{{ else }}{{ .Values.profile.path }}{{ end -}}
{{- end }}

{{/* The lanes that the profile asks for, as JSON: 0 in the service, the count in workers. */}}
{{- define "wsp.lanes" -}}
{{- if eq .Values.mode "service" -}}
0
{{- else -}}
{{- $profile := fromYaml (required "profile.text: workers need it, with wiring.wsp_lanes (--set-file profile.text=…)" .Values.profile.text) -}}
{{- if hasKey $profile "Error" }}{{ fail (printf "profile.text is no YAML: %s" $profile.Error) }}{{ end -}}
{{- $wiring := $profile.wiring | default dict -}}
{{- $count := int (($wiring.wsp_lanes | default dict).count | default 1) -}}
{{- if lt $count 2 }}{{ fail "profile.text: workers share lanes, so wiring.wsp_lanes.count has to be 2 or more" }}{{ end -}}
{{- if ne ((($wiring.wsp_checkpoint | default dict).backend) | default "file") "postgres" -}}
{{- fail "profile.text: workers need wiring.wsp_checkpoint.backend postgres: a file on one pod's disk is no lease for the others" -}}
{{- end -}}
{{ $count }}
{{- end -}}
{{- end }}

{{/* The pod of both modes, but for what is at /var/lib/wsp. */}}
{{- define "wsp.pod" -}}
metadata:
  labels: {{- include "wsp.labels" . | nindent 4 }}
  annotations:
    {{- if .Values.profile.text }}
    # Another profile is another pod.
    wsp/profile: {{ sha256sum .Values.profile.text }}
    {{- end }}
    {{- with .Values.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "wsp.serviceAccount" . }}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    # The volume is the image's user's to write.
    fsGroup: 65532
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  containers:
    - name: wsp
      image: {{ include "wsp.image" . }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [run, --profile, {{ include "wsp.profilePath" . }}]
      env:
        - {name: WSP_TELEMETRY_LISTEN, value: "0.0.0.0:9464"}
        {{- if eq .Values.mode "workers" }}
        - {name: WSP_LANES_PER_WORKER, value: {{ .Values.workers.lanesPerWorker | quote }}}
        - name: WORKER
          valueFrom:
            fieldRef: {fieldPath: metadata.name}
        # A group of its own, so that READY reaches every worker.
        - {name: WSP_READY_GROUP_ID, value: "{{ .Values.workers.groupPrefix }}-$(WORKER)"}
        {{- end }}
        {{- range $name, $value := .Values.env }}
        - {name: {{ $name }}, value: {{ $value | quote }}}
        {{- end }}
      {{- with .Values.envFrom }}
      envFrom: {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - {name: telemetry, containerPort: 9464}
      startupProbe:
        httpGet: {path: /livez, port: telemetry}
        periodSeconds: 2
        failureThreshold: 30
      livenessProbe:
        httpGet: {path: /livez, port: telemetry}
        periodSeconds: 10
        timeoutSeconds: 3
      readinessProbe:
        httpGet: {path: /readyz, port: telemetry}
        periodSeconds: 5
        timeoutSeconds: 3
      resources: {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: state, mountPath: /var/lib/wsp}
        - {name: tmp, mountPath: /tmp}
        {{- if .Values.profile.text }}
        - {name: profile, mountPath: /etc/wsp/release, readOnly: true}
        {{- end }}
  volumes:
    - name: state
      {{- if eq .Values.mode "service" }}
      persistentVolumeClaim: {claimName: {{ .Values.state.existingClaim | default (printf "%s-state" .Release.Name) }}}
      {{- else }}
      emptyDir: {sizeLimit: {{ .Values.workers.stateSize }}}
      {{- end }}
    - name: tmp
      emptyDir: {sizeLimit: 64Mi}
    {{- if .Values.profile.text }}
    - name: profile
      configMap: {name: {{ .Release.Name }}-profile}
    {{- end }}
{{- end }}
