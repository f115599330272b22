"""What Fluid's guide has storage vendors write: the baseline of the benchmark, with all its faults."""
import json
import os

with open(os.environ["CONFIG"]) as file:
    config = json.loads(file.readline())

mount = config["mounts"][0]
bucket = mount["mountPoint"].removeprefix("minio://")
options = mount["options"]

with open("mount-minio.sh", "w") as file:
    file.write(
        f"""set -ex
export AWS_ACCESS_KEY_ID=$(cat {options["minio-access-key"]})
export AWS_SECRET_ACCESS_KEY=$(cat {options["minio-access-secret"]})
mkdir -p {config["targetPath"]}
exec goofys -f --endpoint "{options["minio-url"]}" "{bucket}" {config["targetPath"]}
"""
    )
