// Spreads the journal over the shards of a cluster, by client and time. Run once, against a mongos:
//   mongosh mongodb://mongos.example/ deploy/mongo/shard.js
// The index that the key needs is made by `assay serve` too; both may come first.
const journal = db.getSiblingDB("assay");
journal.request_logs.createIndex({ client_id: 1, timestamp: 1 });
sh.enableSharding("assay");
sh.shardCollection("assay.request_logs", { client_id: 1, timestamp: 1 });
printjson(journal.request_logs.getShardDistribution());
