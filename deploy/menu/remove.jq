# Takes Fairlead's item out of the dashboard's menu; see add.jq.
.data.links |= (fromjson | .menuLinks |= map(select(.link != "/fairlead/")) | tojson)
