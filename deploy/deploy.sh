#!/usr/bin/env bash
# Puts the whole night onto Google Cloud: service, queue, schedule, accounts, bucket, alerts and a
# dashboard. Each step makes what is absent and updates what is there, so it may run again and again.
#
#     PROJECT=p BUCKET=b IMAGE=REGION-docker.pkg.dev/p/containers/embedded-tf:TAG deploy/deploy.sh
#
# The caller needs roles/editor and roles/resourcemanager.projectIamAdmin, or the roles of each step.
set -euo pipefail
cd "$(dirname "$0")"

: "${PROJECT:?the project, as in PROJECT=my-project}"
: "${BUCKET:?the bucket of models, inputs, outputs, records and reports}"
: "${IMAGE:?the image, as in IMAGE=europe-west1-docker.pkg.dev/my-project/containers/embedded-tf:1}"
REGION=${REGION:-europe-west1}
REPOSITORY=${REPOSITORY:-containers}
NAME=${NAME:-embedded-tf}
# Jobs at a time. The service has a few instances more, for whoever looks at jobs and runs.
PARALLEL_JOBS=${PARALLEL_JOBS:-100}
SPARE_INSTANCES=5
CPU=${CPU:-2}
# Files in /tmp are memory: model, model server and service.
MEMORY=${MEMORY:-2Gi}
# Each lasts a little longer than the one before: a job, its delivery, its request.
JOB_SECONDS=1740
DISPATCH_SECONDS=1800
REQUEST_SECONDS=1860
# The night, empty for none: when, where the clock stands, and what POST /fan-out is sent.
SCHEDULE=${SCHEDULE-"0 2 * * *"}
TIMEZONE=${TIMEZONE:-Etc/UTC}
FAN_OUT=${FAN_OUT:-"{\"models\": \"gs://$BUCKET/models/*/\", \"input\": \"gs://$BUCKET/data/{name}/{date}/\", \"output\": \"gs://$BUCKET/predictions/{date}/{name}/\", \"timezone\": \"$TIMEZONE\"}"}
# Monitoring's name of a channel, empty for none: projects/P/notificationChannels/N
ALERT_CHANNEL=${ALERT_CHANNEL:-}

RUN_ACCOUNT=$NAME-run@$PROJECT.iam.gserviceaccount.com
INVOKE_ACCOUNT=$NAME-invoke@$PROJECT.iam.gserviceaccount.com
QUEUE=projects/$PROJECT/locations/$REGION/queues/$NAME

gcloud() { command gcloud --quiet "--project=$PROJECT" "$@"; }
# Whether something is there: the command that describes it.
is_there() { gcloud "$@" >/dev/null 2>&1; }
step() { echo "deploy: $*" >&2; }

step "APIs"
gcloud services enable artifactregistry.googleapis.com cloudscheduler.googleapis.com \
    cloudtasks.googleapis.com iam.googleapis.com logging.googleapis.com \
    monitoring.googleapis.com run.googleapis.com storage.googleapis.com

step "repository of images"
is_there artifacts repositories describe "$REPOSITORY" "--location=$REGION" ||
    gcloud artifacts repositories create "$REPOSITORY" "--location=$REGION" \
        --repository-format=docker

step "service accounts: one that runs jobs, and one that may call the service and nothing else"
for account in run invoke; do
    is_there iam service-accounts describe "$NAME-$account@$PROJECT.iam.gserviceaccount.com" ||
        gcloud iam service-accounts create "$NAME-$account" "--display-name=$NAME: $account"
done

step "bucket"
is_there storage buckets describe "gs://$BUCKET" ||
    gcloud storage buckets create "gs://$BUCKET" "--location=$REGION" \
        --uniform-bucket-level-access --public-access-prevention
gcloud storage buckets add-iam-policy-binding "gs://$BUCKET" \
    "--member=serviceAccount:$RUN_ACCOUNT" --role=roles/storage.objectUser

step "queue"
limits=(
    "--max-concurrent-dispatches=$PARALLEL_JOBS"
    --max-dispatches-per-second=100
    # A job ends by its own MAX_ATTEMPTS. A queue that gave up would lose it.
    --max-attempts=unlimited
    --min-backoff=1s
    --max-backoff=60s
    --max-doublings=6
)
if is_there tasks queues describe "$NAME" "--location=$REGION"; then
    gcloud tasks queues update "$NAME" "--location=$REGION" "${limits[@]}"
else
    gcloud tasks queues create "$NAME" "--location=$REGION" "${limits[@]}"
fi
# To create tasks, and to see whether one is there and what the queue is set to.
for role in roles/cloudtasks.enqueuer roles/cloudtasks.viewer; do
    gcloud tasks queues add-iam-policy-binding "$NAME" "--location=$REGION" \
        "--member=serviceAccount:$RUN_ACCOUNT" "--role=$role"
done
# To create tasks that carry the caller's token.
gcloud iam service-accounts add-iam-policy-binding "$INVOKE_ACCOUNT" \
    "--member=serviceAccount:$RUN_ACCOUNT" --role=roles/iam.serviceAccountUser

step "service"
number=$(gcloud projects describe "$PROJECT" --format 'value(projectNumber)')
# Source: cloud.google.com/run/docs/triggering/https-request#deterministic
url=https://$NAME-$number.$REGION.run.app
instances=$((PARALLEL_JOBS + SPARE_INSTANCES))
variables=(
    "JOBS_URI=gs://$BUCKET/jobs/"
    "REPORTS_URI=gs://$BUCKET/reports/"
    "QUEUE=$QUEUE"
    "SERVICE_URL=$url"
    "SERVICE_ACCOUNT=$INVOKE_ACCOUNT"
    "GOOGLE_CLOUD_PROJECT=$PROJECT"
    "JOB_TIMEOUT_SECONDS=$JOB_SECONDS"
    "DISPATCH_DEADLINE_SECONDS=$DISPATCH_SECONDS"
    "REQUEST_TIMEOUT_SECONDS=$REQUEST_SECONDS"
    "MAX_INSTANCES=$instances"
)
gcloud run deploy "$NAME" "--region=$REGION" "--image=$IMAGE" "--service-account=$RUN_ACCOUNT" \
    --no-allow-unauthenticated --concurrency=1 "--max-instances=$instances" "--cpu=$CPU" \
    "--memory=$MEMORY" --cpu-boost --execution-environment=gen2 "--timeout=$REQUEST_SECONDS" \
    "--update-env-vars=$(IFS=,; echo "${variables[*]}")"
gcloud run services add-iam-policy-binding "$NAME" "--region=$REGION" \
    "--member=serviceAccount:$INVOKE_ACCOUNT" --role=roles/run.invoker

step "Cloud Run job: the same night as a task array, to be run by hand or instead of the queue"
gcloud run jobs deploy "$NAME-night" "--region=$REGION" "--image=$IMAGE" \
    "--service-account=$RUN_ACCOUNT" --tasks=10 --max-retries=3 "--cpu=$CPU" "--memory=$MEMORY" \
    --task-timeout=4h "--set-env-vars=REPORTS_URI=gs://$BUCKET/reports/" --command=embedded-tf \
    "--args=^@^fan-out@--on@array@--models@gs://$BUCKET/models/*/@--input@gs://$BUCKET/data/{name}/{date}/@--output@gs://$BUCKET/predictions/{date}/{name}/"

if [ -n "$SCHEDULE" ]; then
    step "schedule"
    # The scheduler waits 3 minutes if it is not told otherwise, and 30 at most.
    calls=(
        "--location=$REGION" "--schedule=$SCHEDULE" "--time-zone=$TIMEZONE" "--uri=$url/fan-out"
        --http-method=POST "--message-body=$FAN_OUT" "--oidc-service-account-email=$INVOKE_ACCOUNT"
        "--oidc-token-audience=$url" --attempt-deadline=30m --max-retry-attempts=3
        --min-backoff=30s
    )
    if is_there scheduler jobs describe "$NAME-night" "--location=$REGION"; then
        gcloud scheduler jobs update http "$NAME-night" "${calls[@]}" \
            --update-headers=Content-Type=application/json
    else
        gcloud scheduler jobs create http "$NAME-night" "${calls[@]}" \
            --headers=Content-Type=application/json
    fi
fi

step "metrics: runs that have ended, and those of which something is not done"
metric() {
    local action=create
    if is_there logging metrics describe "$1"; then action=update; fi
    gcloud logging metrics "$action" "$1" "--description=$2" "--log-filter=$3"
}
service="((resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"$NAME\") OR (resource.type=\"cloud_run_job\" AND resource.labels.job_name=\"$NAME-night\"))"
metric "$NAME-runs-ended" "Runs that have ended" "$service AND jsonPayload.run.complete=true"
metric "$NAME-runs-not-done" "Runs that have ended with jobs that are not done" \
    "$service AND jsonPayload.run.complete=true AND jsonPayload.run.success=false"

step "alerts and dashboard"
filled() { sed -e "s|@NAME@|$NAME|g" "$1"; }
channels=()
if [ -n "$ALERT_CHANNEL" ]; then channels=("--notification-channels=$ALERT_CHANNEL"); fi
for file in alert-not-done.json alert-no-run.json; do
    policy=$(filled "$file")
    title=$(sed -n 's/^  "displayName": "\(.*\)",$/\1/p' <<<"$policy")
    found=$(gcloud monitoring policies list "--filter=displayName=\"$title\"" --format 'value(name)')
    if [ -n "$found" ]; then
        gcloud monitoring policies update "$found" "--policy=$policy" "${channels[@]/#--notification/--set-notification}"
    else
        gcloud monitoring policies create "--policy=$policy" "${channels[@]}"
    fi
done
dashboard=$(filled dashboard.json)
found=$(gcloud monitoring dashboards list "--filter=displayName=\"$NAME\"" --format 'value(name)')
if [ -z "$found" ]; then
    gcloud monitoring dashboards create "--config=$dashboard"
fi

step "done: $url"
