"""What is kept in DynamoDB. The only room that knows PynamoDB and botocore."""
