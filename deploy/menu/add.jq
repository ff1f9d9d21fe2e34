# Puts Fairlead into the dashboard's menu: of the ConfigMap that lists the menu, into the same with one item more, right
# behind that of Kubeflow's notebooks. One that is there already is replaced, every other stays as it is.
.data.links |= (fromjson
  | .menuLinks |= (map(select(.link != "/fairlead/"))
      | (map(.link == "/jupyter/") | index(true) // (length - 1)) as $at
      | .[:$at + 1] + [{type: "item", link: "/fairlead/", text: "Notebooks SSH", icon: "settings-ethernet"}]
        + .[$at + 1:])
  | tojson)
