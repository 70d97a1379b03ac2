// Shards the request log by client and time. Run once, against a mongos:
//   mongosh mongodb://mongos.example/ deploy/mongo/shard.js
// `assay serve` also creates the index of the shard key; either can run first.
const database = db.getSiblingDB("assay");
database.request_logs.createIndex({ client_id: 1, timestamp: 1 });
sh.enableSharding("assay");
sh.shardCollection("assay.request_logs", { client_id: 1, timestamp: 1 });
printjson(database.request_logs.getShardDistribution());
