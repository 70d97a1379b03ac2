// Shards the request log by region, so that each region's records stay on the shards of that region. Instead of
// shard.js, once, against a mongos; REGIONS names the shards of each region:
//   REGIONS='{"eu": ["shard-eu"], "us": ["shard-us"]}' mongosh mongodb://mongos.example/ deploy/mongo/regions.js
// Every server must have the setting ASSAY_SERVE_REQUEST_LOG__REGION with one of these names.
const regions = JSON.parse(process.env.REGIONS);
const database = db.getSiblingDB("assay");
const key = { region: 1, client_id: 1, timestamp: 1 };
database.request_logs.createIndex(key);
sh.enableSharding("assay");
sh.shardCollection("assay.request_logs", key);
for (const [region, shards] of Object.entries(regions)) {
  for (const shard of shards) sh.addShardToZone(shard, region);
  sh.updateZoneKeyRange(
    "assay.request_logs",
    { region: region, client_id: MinKey(), timestamp: MinKey() },
    { region: region, client_id: MaxKey(), timestamp: MaxKey() },
    region,
  );
}
printjson(database.request_logs.getShardDistribution());
