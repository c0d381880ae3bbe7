# The server of `batch`: moto, with a queue and a job definition.
import os
import sys
import threading

import boto3
from moto.batch.models import BatchBackend
from moto.server import ThreadedMotoServer

# This number of placers look a job up before the first of them submits one.
rivals = threading.Barrier(int(os.environ.get("RIVALS", "1")))
list_jobs = BatchBackend.list_jobs


def list_jobs_for_rivals(self, *args, **kwargs):
    found = list_jobs(self, *args, **kwargs)
    rivals.wait(timeout=30)
    return found


BatchBackend.list_jobs = list_jobs_for_rivals

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
url = "http://%s:%d" % server.get_host_and_port()
folder, image = sys.argv[1:3]


def client(name):
    return boto3.client(name, endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")


role = client("iam").create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
batch = client("batch")
machines = batch.create_compute_environment(
    computeEnvironmentName="machines", type="UNMANAGED", state="ENABLED", serviceRole=role)["computeEnvironmentArn"]
batch.create_job_queue(
    jobQueueName="queue", state="ENABLED", priority=1, computeEnvironmentOrder=[{"order": 1, "computeEnvironment": machines}])
mounts = {"engine": "/var/run/docker.sock", "io-dir": folder}
batch.register_job_definition(
    jobDefinitionName="job",
    type="container",
    containerProperties={
        "image": image,
        "command": ["/usr/local/libexec/ncaas/job"],
        "resourceRequirements": [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "512"}],
        "environment": [
            {"name": name, "value": value} for name, value in os.environ.items() if name.startswith("AWS_") and name != "AWS_CONFIG_FILE"],
        "volumes": [{"name": name, "host": {"sourcePath": path}} for name, path in mounts.items()],
        "mountPoints": [
            {"sourceVolume": name, "containerPath": path, "readOnly": False} for name, path in mounts.items()],
    },
)
print(url, flush=True)
# moto prints more, which nobody reads.
os.dup2(2, 1)
sys.stdin.read()
