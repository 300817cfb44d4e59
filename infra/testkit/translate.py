"""Prints a SAM template as CloudFormation gets it, as JSON: translate.py template.yaml, with a Python that has
aws-sam-translator. What is asked of the deployed system is asked of this, not of the source: the transform adds."""

import json
import os
import sys

os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse


class Policies(dict):
    """Managed policies by name, when SAM adds one: as their names."""

    def get(self, name, default=None):
        return f"arn:aws:iam::aws:policy/service-role/{name}"


with open(sys.argv[1], encoding="utf-8") as source:
    template = yaml_parse(source.read())
defaults = {name: one["Default"] for name, one in template["Parameters"].items()}
# Places of packages are `sam deploy`'s business.
for resource in template["Resources"].values():
    if resource["Type"] == "AWS::Serverless::Function":
        resource["Properties"]["CodeUri"] = "s3://packages/one.zip"
print(json.dumps(Translator(Policies(), Parser()).translate(template, defaults), default=str))
