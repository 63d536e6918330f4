"""Walks the EKS API with boto3, as scripts do: waiters, paginators, exceptions, temporary credentials."""
import json

import boto3
from botocore.exceptions import ClientError

eks, iam, sts, ec2 = (boto3.client(name) for name in ("eks", "iam", "sts", "ec2"))


def trust(service):
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def expect(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        return error.response
    raise AssertionError(f"{code} was expected")


identity = sts.get_caller_identity()
assert identity["Account"] == "111122223333", identity
role = iam.create_role(RoleName="cluster", AssumeRolePolicyDocument=trust("eks.amazonaws.com"))["Role"]["Arn"]
expect("EntityAlreadyExists", iam.create_role, RoleName="cluster", AssumeRolePolicyDocument=trust("eks.amazonaws.com"))
expect("MalformedPolicyDocument", iam.create_role, RoleName="broken", AssumeRolePolicyDocument="{")
node = iam.create_role(RoleName="node", AssumeRolePolicyDocument=trust("ec2.amazonaws.com"))["Role"]["Arn"]
subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]]

for name in ("a", "b", "c"):
    created = eks.create_cluster(name=name, roleArn=role, resourcesVpcConfig={"subnetIds": subnets}, tags={"n": name})
    assert created["cluster"]["arn"].endswith(f":cluster/{name}"), created
for name in ("a", "b", "c"):
    eks.get_waiter("cluster_active").wait(name=name)
response = expect("ResourceInUseException", eks.create_cluster, name="a", roleArn=role, resourcesVpcConfig={"subnetIds": subnets})
assert response["Error"]["Message"] == "Cluster already exists with name: a", response
assert response["ResponseMetadata"]["HTTPStatusCode"] == 409, response
pages = list(eks.get_paginator("list_clusters").paginate(PaginationConfig={"PageSize": 1}))
assert [page["clusters"] for page in pages] == [["a"], ["b"], ["c"]], pages
expect("InvalidParameterException", eks.list_clusters, nextToken="nonsense")

cluster = eks.describe_cluster(name="a")["cluster"]
assert cluster["status"] == "ACTIVE" and cluster["endpoint"].startswith("https://"), cluster
assert cluster["resourcesVpcConfig"]["vpcId"].startswith("vpc-"), cluster
assert cluster["tags"] == {"n": "a"}, cluster

eks.create_nodegroup(clusterName="a", nodegroupName="g", subnets=subnets, nodeRole=node, scalingConfig={"minSize": 1, "maxSize": 2, "desiredSize": 1})
eks.get_waiter("nodegroup_active").wait(clusterName="a", nodegroupName="g")
update = eks.update_nodegroup_config(clusterName="a", nodegroupName="g", labels={"addOrUpdateLabels": {"x": "y"}})["update"]
assert update["type"] == "ConfigUpdate", update
expect("InvalidRequestException", eks.list_access_entries, clusterName="a")  # its mode is CONFIG_MAP, the default
expect("ResourceNotFoundException", eks.describe_nodegroup, clusterName="a", nodegroupName="none")
expect("ResourceNotFoundException", eks.describe_cluster, name="none")
instances = [i for r in ec2.describe_instances()["Reservations"] for i in r["Instances"] if i["State"]["Name"] == "running"]
assert len(instances) == 1 and instances[0]["InstanceType"] == "t3.medium", instances

print("walked")
